use std::fmt;

use crate::stats::DropReason;

/// What functions of the program write to be sent back, and how many such replies this poll may still send.
///
/// There is one buffer for all, so that a flood of questions allocates nothing.
#[derive(Default)]
pub(super) struct Replies {
    bytes: Vec<u8>,
    left: usize,
}

impl Replies {
    /// Lets the poll that begins send `max` replies.
    pub(super) fn begin(&mut self, max: usize) {
        self.left = max;
    }

    /// An empty reply to write into.
    pub(super) fn blank(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        &mut self.bytes
    }

    /// What was written last.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Allows what was written last to answer a question of `question` bytes, unless that would be more than was
    /// received, or one reply too many for this poll.
    pub(super) fn permit(&mut self, question: usize) -> Result<(), DropReason> {
        if self.bytes.len() > question {
            return Err(DropReason::ReplyTooLong);
        }
        self.left = self.left.checked_sub(1).ok_or(DropReason::ReplyBudget)?;
        Ok(())
    }
}

impl fmt::Debug for Replies {
    /// A reply may be an id, or what proves something, and is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} replies left", self.bytes.len(), self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_no_longer_than_its_question_and_one_of_so_many() {
        let mut replies = Replies::default();
        replies.begin(1);
        replies.blank().extend_from_slice(b"four");
        assert_eq!(replies.permit(3), Err(DropReason::ReplyTooLong));
        assert_eq!(replies.permit(4), Ok(()));
        assert_eq!(replies.permit(4), Err(DropReason::ReplyBudget));
        assert_eq!(replies.bytes(), b"four");
        assert_eq!(format!("{replies:?}"), "4 bytes, 0 replies left");
        replies.begin(1);
        assert!(replies.blank().is_empty());
        assert_eq!(replies.permit(0), Ok(()));
    }
}

use crate::stats::{DropReason, ReceiveDrops, SendDropReason, SendDrops};

/// What was dropped of one peer, by reason: only those that it has met, since most peers meet none, and few more than
/// two.
#[derive(Debug, Default)]
pub(super) struct DropList(
    /// Of each the reason's number in the upper eight bits, the count in the others.
    Box<[u64]>,
);

const COUNT_BITS: u32 = 56;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// The numbers of reasons for which something is not sent begin here; those for what is received at 0.
const FIRST_OF_SENDS: u64 = 128;

impl DropList {
    pub(super) fn add(&mut self, reason: DropReason, count: u64) {
        self.add_to(reason as u64, count);
    }

    pub(super) fn add_unsent(&mut self, reason: SendDropReason, count: u64) {
        self.add_to(FIRST_OF_SENDS + reason as u64, count);
    }

    fn add_to(&mut self, number: u64, count: u64) {
        match self.0.iter_mut().find(|word| **word >> COUNT_BITS == number) {
            Some(word) => *word += count,
            None => {
                let mut words = std::mem::take(&mut self.0).into_vec();
                words.reserve_exact(1);
                words.push(number << COUNT_BITS | count);
                self.0 = words.into();
            }
        }
    }

    pub(super) fn received(&self) -> ReceiveDrops {
        let mut drops = ReceiveDrops::default();
        for word in &self.0 {
            if let Some(&reason) = DropReason::ALL.get((word >> COUNT_BITS) as usize) {
                drops.add(reason, word & COUNT);
            }
        }
        drops
    }

    pub(super) fn unsent(&self) -> SendDrops {
        let mut drops = SendDrops::default();
        for word in &self.0 {
            let number = (word >> COUNT_BITS).checked_sub(FIRST_OF_SENDS);
            if let Some(&reason) = number.and_then(|number| SendDropReason::ALL.get(number as usize)) {
                drops.add(reason, word & COUNT);
            }
        }
        drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_for_itself() {
        let mut list = DropList::default();
        let (mut received, mut unsent) = (ReceiveDrops::default(), SendDrops::default());
        for round in 1..=3 {
            for (number, &reason) in DropReason::ALL.iter().enumerate() {
                list.add(reason, round << number);
                received.add(reason, round << number);
            }
            for (number, &reason) in SendDropReason::ALL.iter().enumerate() {
                list.add_unsent(reason, round << number);
                unsent.add(reason, round << number);
            }
        }
        assert_eq!((list.received(), list.unsent()), (received, unsent));
        assert_eq!(list.0.len(), DropReason::ALL.len() + SendDropReason::ALL.len());
    }
}

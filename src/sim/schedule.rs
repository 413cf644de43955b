use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What happens later: first what is due first, and of what is due at the same time, first what was added first.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    /// Small, since they are moved about.
    appointments: BinaryHeap<Reverse<Appointment>>,
    /// By the index that the appointments have.
    values: Vec<Option<T>>,
    vacant: Vec<usize>,
    added: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Appointment {
    /// In nanoseconds.
    due: u64,
    number: u64,
    index: usize,
}

/// What was taken from a schedule, and its place there.
#[derive(Debug)]
pub(super) struct Taken<T> {
    due: u64,
    number: u64,
    pub(super) value: T,
}

impl<T> Schedule<T> {
    pub(super) fn new() -> Self {
        Self { appointments: BinaryHeap::new(), values: Vec::new(), vacant: Vec::new(), added: 0 }
    }

    pub(super) fn add(&mut self, due: u64, value: T) {
        let number = self.added;
        self.added += 1;
        self.put_back(Taken { due, number, value });
    }

    /// Puts one back that was taken, in its old place.
    pub(super) fn put_back(&mut self, taken: Taken<T>) {
        let Taken { due, number, value } = taken;
        let index = match self.vacant.pop() {
            Some(index) => {
                self.values[index] = Some(value);
                index
            }
            None => {
                self.values.push(Some(value));
                self.values.len() - 1
            }
        };
        self.appointments.push(Reverse(Appointment { due, number, index }));
    }

    /// Takes the next, if it is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Taken<T>> {
        self.next_due().filter(|&due| due <= now)?;
        self.take_next()
    }

    /// Takes the next, due or not.
    pub(super) fn take_next(&mut self) -> Option<Taken<T>> {
        let Reverse(Appointment { due, number, index }) = self.appointments.pop()?;
        let value = self.values[index].take()?;
        self.vacant.push(index);
        Some(Taken { due, number, value })
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.appointments.peek().map(|Reverse(next)| next.due)
    }

    pub(super) fn len(&self) -> usize {
        self.appointments.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.appointments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_due_comes_first_and_then_the_first_added() {
        let mut schedule = Schedule::new();
        for (due, value) in [(3, 'd'), (1, 'a'), (2, 'b'), (2, 'c')] {
            schedule.add(due, value);
        }
        assert_eq!(schedule.next_due(), Some(1));
        assert!(schedule.take_due(0).is_none());
        let first = schedule.take_due(2).unwrap();
        assert_eq!(first.value, 'a');
        schedule.put_back(first);
        let taken: String = std::iter::from_fn(|| schedule.take_due(2)).map(|taken| taken.value).collect();
        assert_eq!(taken, "abc");
        assert_eq!(schedule.take_next().map(|taken| taken.value), Some('d'));
        assert!(schedule.is_empty());
    }
}

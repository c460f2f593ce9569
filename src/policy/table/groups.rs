//! Rules in groups, which are searched or skipped as a whole.

use super::Shape;
use super::classes::ClassSet;

/// Rules of one kind and class with conditions on the same dimensions, numbered `first..end` in the order of the file; `first` begins a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) class: ClassSet,
    pub(super) shape: Shape,
    pub(super) first: u32,
    pub(super) end: u32,
    /// Where its first rule stands in the file.
    pub(super) place: u32,
}

/// The groups of a kind, in the order of their numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    pub(super) groups: Vec<Group>,
    /// What all of them have in their shapes.
    common: Shape,
    /// The numbers of all their rules.
    first: u32,
    end: u32,
}

impl Groups {
    pub(super) fn new(groups: Vec<Group>) -> Groups {
        let common = groups.iter().fold(Shape::MAX, |common, group| common & group.shape);
        let (first, end) = groups.first().zip(groups.last()).map_or((0, 0), |(first, last)| (first.first, last.end));
        Groups { groups, common, first, end }
    }

    /// Whether there are none, or each asks for the one rule that the subject is known to, and has another.
    #[inline]
    pub(super) fn are_out(&self, (bit, id): (Shape, u32)) -> bool {
        self.groups.is_empty() || self.common & bit != 0 && !(self.first..self.end).contains(&id)
    }
}

//! A slab whose keys die with their entry: a late reference to a reused slot finds nothing.

/// Names one entry for as long as it lives. The generation has 24 bits, so that a key fits a kernel cookie beside its tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The low 56 bits of a kernel cookie.
    pub(super) fn cookie(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The inverse of [`Key::cookie`]; bits above 56 are not looked at.
    #[expect(clippy::cast_possible_truncation, reason = "takes the cookie apart")]
    pub(super) fn from_cookie(cookie: u64) -> Key {
        Key { index: cookie as u32, generation: (cookie >> 32) as u32 & GENERATION_MASK }
    }
}

pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
    live: usize,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Slab<T> {
        Slab { slots: Vec::new(), vacant: Vec::new(), live: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Allocates only when more entries live than ever before.
    pub(super) fn insert(&mut self, value: T) -> Key {
        self.live += 1;
        if let Some(index) = self.vacant.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Key { index, generation: slot.generation };
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        assert!(index < u32::MAX, "more than 2^32 operations at once");
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Key { index, generation: 0 }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
        self.vacant.push(key.index);
        self.live -= 1;
        Some(value)
    }
}

const GENERATION_MASK: u32 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_dies_with_its_entry() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_key_survives_the_way_through_a_cookie() {
        let mut slab = Slab::new();
        let old = slab.insert(1);
        slab.remove(old);
        let key = slab.insert(2);
        assert_eq!(Key::from_cookie(key.cookie() | 0xff << 56), key);
    }
}

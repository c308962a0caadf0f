//! Parts that many states have in common: copied when they change, hashed once.

use core::cell::Cell;
use core::hash::{Hash, Hasher};
use core::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::search::key_of;

/// A part of a state. To write to it, also when nothing changes, copies it and hashes it again.
#[derive(Clone, Default)]
pub(crate) struct Shared<T>(Rc<Node<T>>);

#[derive(Clone, Default)]
struct Node<T> {
    value: T,
    key: Cell<Option<u128>>,
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        let key = Cell::new(None);
        Self(Rc::new(Node { value, key }))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        let node = Rc::make_mut(&mut self.0);
        node.key.set(None);
        &mut node.value
    }
}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let key = self.0.key.get().unwrap_or_else(|| key_of(&self.0.value));
        self.0.key.set(Some(key));
        state.write_u128(key);
    }
}

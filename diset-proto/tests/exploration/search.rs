//! Visits each state that can be reached once, depth first.
//!
//! A state is known by 128 bits that are computed from all of it; that two of ten million states
//! have the same ones is less likely than one in 10^24. Time does not tell states apart: the clock of
//! a world stands still, but for the acknowledgement timer. An action that leads to a state
//! on the path to itself closes a circle: the two sides could go round for ever. So when there is no
//! circle, and each state in which nothing more can happen is a good end, every run comes to
//! a good end, however its actions are interleaved.

use core::hash::{Hash, Hasher};
use std::collections::{HashMap, HashSet};

use super::given::Action;
use super::world::World;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    /// States in which nothing more can happen.
    pub(crate) ends: HashSet<u128, Through>,
    /// The longest way to an end.
    pub(crate) depth: usize,
}

struct Step {
    world: World,
    action: Option<Action>,
    /// What is still to be tried from here.
    next: Vec<Action>,
    key: u128,
}

/// Visits all, or says what is wrong and by which shortest way it was reached.
pub(crate) fn explore(start: &World) -> Result<Found, String> {
    // Whether the state is on the path.
    let mut seen: HashMap<u128, bool, Through> = HashMap::default();
    let mut found = Found::default();
    let mut path: Vec<Step> = Vec::new();
    let key = key_of(start);
    seen.insert(key, true);
    path.push(Step::at(start.clone(), None, key));
    while let Some(step) = path.last_mut() {
        let Some(action) = step.next.pop() else {
            let done = path.pop();
            if let Some(step) = done {
                seen.insert(step.key, false);
            }
            continue;
        };
        let mut world = step.world.clone();
        let from = step.key;
        if let Err(wrong) = world.apply(action) {
            return Err(report(start, &path, action, &wrong));
        }
        let key = key_of(&world);
        if key == from {
            continue;
        }
        found.transitions += 1;
        match seen.get(&key) {
            Some(false) => continue,
            Some(true) => return Err(report(start, &path, action, "it goes round in a circle")),
            None => {}
        }
        seen.insert(key, true);
        path.push(Step::at(world, Some(action), key));
        found.depth = found.depth.max(path.len());
        let last = path.last().map(|step| &step.world);
        if let Some(world) = last
            && world.is_at_end()
        {
            found.ends.insert(key);
            if let Err(wrong) = world.check_end() {
                path.pop();
                return Err(report(start, &path, action, &wrong));
            }
        }
    }
    found.states = seen.len();
    Ok(found)
}

impl Step {
    fn at(world: World, action: Option<Action>, key: u128) -> Self {
        let next = world.tried();
        Self {
            world,
            action,
            next,
            key,
        }
    }
}

/// The way to what is wrong, without the steps that it does not need.
fn report(start: &World, path: &[Step], last: Action, wrong: &str) -> String {
    let mut way: Vec<Action> = path.iter().filter_map(|step| step.action).collect();
    way.push(last);
    let mut place = 0;
    while place < way.len() {
        let mut shorter = way.clone();
        shorter.remove(place);
        if walk(start, &shorter).is_some() {
            way = shorter;
            place = 0;
        } else {
            place += 1;
        }
    }
    let (wrong, lines) = walk(start, &way).unwrap_or_else(|| (wrong.to_owned(), Vec::new()));
    let lines = if lines.is_empty() {
        way.iter().map(ToString::to_string).collect()
    } else {
        lines
    };
    format!("{wrong}, after {} steps:\n  {}", way.len(), lines.join("\n  "))
}

/// Goes this way, if it can be gone: what is wrong there, and what happened on it.
fn walk(start: &World, way: &[Action]) -> Option<(String, Vec<String>)> {
    let mut world = start.clone();
    world.log = Some(Vec::new());
    let mut wrong = None;
    for (place, action) in way.iter().enumerate() {
        if !world.actions().contains(action) {
            return None;
        }
        if let Err(found) = world.apply(*action) {
            wrong = (place + 1 == way.len()).then_some(found);
            break;
        }
    }
    if wrong.is_none() && world.is_at_end() {
        wrong = world.check_end().err();
    }
    wrong.map(|wrong| (wrong, world.log.unwrap_or_default()))
}

/// The 128 bits by which a state, or a part of one, is known.
pub(crate) fn key_of(part: &impl Hash) -> u128 {
    let mut mix = Mix(0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
    part.hash(&mut mix);
    (u128::from(mix.0) << 64) | u128::from(mix.1)
}

/// Two independent hashes of 64 bits at once, of what comes in words.
struct Mix(u64, u64);

impl Mix {
    const fn word(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0xa076_1d64_78bd_642f).wrapping_add(self.1);
        self.1 = fold(self.1 ^ word.rotate_left(32), 0xe703_7ed1_a0b4_28db) ^ self.0.rotate_left(17);
    }
}

/// Multiplies and folds; the sum keeps a zero from swallowing the state.
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
const fn fold(one: u64, other: u64) -> u64 {
    let product = (one as u128) * (other as u128);
    (product as u64) ^ ((product >> 64) as u64).wrapping_add(one)
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.write(&value.to_le_bytes());
    }

    fn write_u8(&mut self, value: u8) {
        self.word(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.word(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.word(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }
}

/// Keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Through;

impl core::hash::BuildHasher for Through {
    type Hasher = Last;

    fn build_hasher(&self) -> Last {
        Last(0)
    }
}

pub(crate) struct Last(u64);

impl Hasher for Last {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<8>();
        self.0 = words.first().map_or(0, |word| u64::from_le_bytes(*word));
    }
}

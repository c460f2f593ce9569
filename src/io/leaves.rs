//! The leaves that a worker has at hand: bounded, and never used past half their life.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConfig;

use crate::limits::{LEAF_CACHE_MAX, LEAF_LIFE};

/// TLS configurations by host.
#[derive(Default)]
pub(crate) struct Leaves {
    by_host: HashMap<Rc<str>, (Arc<ServerConfig>, Instant)>,
    order: VecDeque<Rc<str>>,
}

impl Leaves {
    /// The configuration for `host`, if there is a fresh one.
    pub(crate) fn get(&mut self, host: &str) -> Option<Arc<ServerConfig>> {
        let (config, made) = self.by_host.get(host)?;
        (made.elapsed() < LEAF_LIFE / 2).then(|| Arc::clone(config))
    }

    /// Keeps a configuration; the oldest goes when there is no room.
    pub(crate) fn put(&mut self, host: &str, config: Arc<ServerConfig>) {
        if let Some(held) = self.by_host.get_mut(host) {
            *held = (config, Instant::now());
            return;
        }
        if self.order.len() >= LEAF_CACHE_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_host.remove(&oldest);
        }
        let host: Rc<str> = host.into();
        self.order.push_back(Rc::clone(&host));
        self.by_host.insert(host, (config, Instant::now()));
    }
}

//! The executor of embassy, asleep when there is nothing to do, and its clock.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::Mutex;
use embassy_executor::Spawner;
use embassy_executor::raw::Executor;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;
use static_cell::StaticCell;

use crate::clock;

/// Runs tasks for ever. `init` starts the first ones.
///
/// embassy's own executor for this core waits for events (WFE), which QEMU does not: it would take a whole core of the
/// host. This one sleeps until an interrupt.
pub fn run(init: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let executor: &'static Executor = EXECUTOR.init(Executor::new(core::ptr::null_mut()));
    init(executor.spawner());
    loop {
        WORK.clear();
        // SAFETY: the only call, from thread mode, and never from within a task.
        unsafe { executor.poll() };
        clock::wait(u64::MAX, || WORK.is_there());
    }
}

struct Work(core::sync::atomic::AtomicBool);

/// Whether a task was woken.
static WORK: Work = Work(core::sync::atomic::AtomicBool::new(false));

impl Work {
    fn clear(&self) {
        self.0.store(false, core::sync::atomic::Ordering::SeqCst);
    }

    fn is_there(&self) -> bool {
        self.0.load(core::sync::atomic::Ordering::SeqCst)
    }
}

/// The executor calls it when a task is woken.
#[unsafe(export_name = "__pender")]
fn pend(_context: *mut ()) {
    WORK.0.store(true, core::sync::atomic::Ordering::SeqCst);
}

struct Clock {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock {
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for Clock {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|section| {
            // The next tick looks whether it is time.
            self.queue.borrow_ref_mut(section).schedule_wake(at, waker);
        });
    }
}

/// Wakes what is due.
pub(crate) fn tick(now: u64) {
    critical_section::with(|section| {
        CLOCK.queue.borrow_ref_mut(section).next_expiration(now);
    });
}

//! What an engine takes, in bytes. The figures are printed; what is asserted is that nothing is hidden in them: the
//! engine is its parts, and its buffers are the caller's. That nothing is allocated shows the crate itself: without the
//! feature `alloc` it is built for targets that have no allocator.

use core::mem::size_of;

use diset_proto::{Agreement, Connection, Deframer, Reconnect};

#[test]
fn engines_are_small_and_buffers_are_the_callers() {
    let lent = size_of::<Connection<&mut [u8]>>();
    let none = size_of::<Connection<[u8; 0]>>();
    println!("Connection<&mut [u8]>, either role: {lent}");
    println!("Connection<[u8; 0]>:                {none}");
    println!(
        "Connection<[u8; 768]>:              {}",
        size_of::<Connection<[u8; 768]>>()
    );
    println!("  of which the table of messages:   {}", size_of::<Agreement>());
    println!(
        "Deframer<&mut [u8]>:                {}",
        size_of::<Deframer<&mut [u8]>>()
    );
    println!("Reconnect:                          {}", size_of::<Reconnect>());
    println!(
        "a client with the least buffers:    {}",
        none + 768 + size_of::<Deframer<[u8; 516]>>()
    );
    assert_eq!(size_of::<Connection<[u8; 768]>>(), none + 768);
    assert!(none <= 1024, "an engine without its buffer takes {none} bytes");
}

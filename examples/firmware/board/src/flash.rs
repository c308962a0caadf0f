//! The page of flash that is not the image's. It is written when the board is made and never by the firmware.

use core::ptr::addr_of;

/// Bytes of the page, as memory.x has it.
const PAGE: usize = 4096;

unsafe extern "C" {
    static _credentials: [u8; PAGE];
}

/// The page with the credentials of the station, its private key among them: give it to nobody. In QEMU it is written by
/// `-device loader,file=PAGE,addr=0x3F000,force-raw=on`.
pub fn credentials() -> &'static [u8] {
    // SAFETY: memory.x sees to it that there is flash of this length at the symbol, and that nothing else is in it.
    // Nothing writes it while the firmware runs.
    unsafe { &*addr_of!(_credentials) }
}

//! Records after the handshake: one that comes, one that leaves, each in the caller's buffer.
//!
//! What has come and what has left of a record is kept here, so a read or a write of the transport may be dropped at any
//! time. A record is looked at when it is whole.

use core::ops::{Range, RangeInclusive};

use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes128Gcm, KeyInit};
use diset_proto::Storage;
use p256::elliptic_curve::zeroize::Zeroize;

use super::buffers::Lent;
use super::bytes::copy;
use super::error::TlsError;
use super::flight::{self, HANDSHAKE};
use super::suite::KEYS;

/// Content types.
pub(super) const ALERT: u8 = 21;
pub(super) const DATA: u8 = 23;

/// Type, version, length.
pub(super) const HEADER: usize = 5;
/// What AES-GCM adds.
pub(super) const TAG: usize = 16;

/// Content, type, padding and tag together (RFC 8446, section 5.2).
const MAX_BODY: usize = 16_640;
/// Content of a record.
const MAX_CONTENT: usize = 16_384;

/// Alerts: the warning that ends a direction, and one that means nothing.
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;

/// The limits that make sense: AES-GCM allows 2^24.5 records of full length, and an end in order takes a few.
pub(super) const LIMITS: RangeInclusive<u32> = 64..=1 << 24;
/// So many records are left at least when a channel counts as worn: for what the service still sends, up to its credit,
/// which is answered, and for the end.
const LAST: u32 = 32;

/// The longest body of a record for which a buffer of this length has room.
pub(super) const fn longest(buffer: usize) -> usize {
    let body = buffer.saturating_sub(HEADER);
    if body < MAX_BODY { body } else { MAX_BODY }
}

/// The key of one direction, how many records it was used for, and how many it may be used for.
pub(super) struct RecordKey {
    bytes: [u8; KEYS],
    count: u32,
    most: u32,
}

impl RecordKey {
    /// A key and the nonce of record 0.
    pub(super) const fn new(bytes: [u8; KEYS], most: u32) -> Self {
        Self { bytes, count: 0, most }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) const fn most(&self) -> u32 {
        self.most
    }

    const fn left(&self) -> u32 {
        self.most.saturating_sub(self.count)
    }

    /// Nine in ten records have passed, or all but the last.
    pub(super) fn is_worn(&self) -> bool {
        self.left() <= LAST.max(self.most / 10)
    }

    /// For the next record: what encrypts, and its nonce.
    fn next(&mut self) -> Result<(Aes128Gcm, [u8; 12]), TlsError> {
        let (key, mut nonce) = (self.bytes.first_chunk(), self.bytes.last_chunk().copied());
        let (Some(key), Some(nonce)) = (key, &mut nonce) else {
            return Err(TlsError::Internal);
        };
        if self.left() == 0 {
            return Err(TlsError::Worn);
        }
        for (byte, number) in nonce.iter_mut().rev().zip(self.count.to_le_bytes()) {
            *byte ^= number;
        }
        self.count = self.count.saturating_add(1);
        let key: &[u8; 16] = key;
        Ok((Aes128Gcm::new(key.into()), *nonce))
    }
}

impl Drop for RecordKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The direction from the peer.
pub(super) struct Incoming<'b> {
    pub(super) key: RecordKey,
    bytes: Lent<'b>,
    /// So much of the record has come.
    filled: usize,
    /// Where the content of an opened record is that was not taken yet.
    content: Range<usize>,
    /// There is nothing more: the peer has said so, or something is wrong.
    end: Option<Result<(), TlsError>>,
}

impl<'b> Incoming<'b> {
    pub(super) const fn new(key: RecordKey, bytes: Lent<'b>) -> Self {
        Self {
            key,
            bytes,
            filled: 0,
            content: 0..0,
            end: None,
        }
    }

    /// What is wrong with this direction.
    pub(super) const fn fault(&self) -> Option<TlsError> {
        match self.end {
            Some(Err(error)) => Some(error),
            _ => None,
        }
    }

    /// Content, an end or an error is there.
    pub(super) fn is_ready(&self) -> bool {
        !self.content.is_empty() || self.end.is_some()
    }

    /// What is ready; 0 is the end.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> Option<Result<usize, TlsError>> {
        let content = self.bytes.bytes().get(self.content.clone()).unwrap_or_default();
        if content.is_empty() {
            return self.end.map(|end| end.map(|()| 0));
        }
        let count = content.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), content.get(..count)) {
            copy(from, to);
        }
        self.content.start = self.content.start.saturating_add(count);
        Some(Ok(count))
    }

    /// Where to read to; empty when something is ready.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.is_ready() {
            return &mut [];
        }
        let range = self.filled..self.wanted();
        self.bytes.bytes_mut().get_mut(range).unwrap_or_default()
    }

    /// So much must come: the header, and when it is there, the record that it announces.
    fn wanted(&self) -> usize {
        if self.filled < HEADER { HEADER } else { self.announced() }
    }

    fn announced(&self) -> usize {
        match self.bytes.bytes() {
            [_, _, _, high, low, ..] => HEADER.saturating_add(u16::from_be_bytes([*high, *low]).into()),
            _ => HEADER,
        }
    }

    /// The transport has read so much into [`space`](Self::space); 0 is its end.
    pub(super) fn received(&mut self, count: usize) {
        let done = match count {
            0 => Err(TlsError::Ended),
            _ => self.grow(count),
        };
        if let Err(error) = done {
            self.fail(error);
        }
    }

    pub(super) fn fail(&mut self, error: TlsError) {
        self.end = self.end.or(Some(Err(error)));
    }

    fn grow(&mut self, count: usize) -> Result<(), TlsError> {
        self.filled = self.filled.saturating_add(count);
        if self.filled < HEADER {
            return Ok(());
        }
        if self.filled == HEADER {
            let length = self.wanted().saturating_sub(HEADER);
            let is_encrypted = self.bytes.bytes().starts_with(&[DATA, 3, 3]);
            if !is_encrypted || length <= TAG {
                return Err(TlsError::Unexpected);
            }
            if length > longest(self.bytes.bytes().len()) {
                return Err(TlsError::RecordLength(u16::try_from(length).unwrap_or(u16::MAX)));
            }
        }
        if self.filled == self.wanted() {
            self.filled = 0;
            return self.open();
        }
        Ok(())
    }

    /// The record is whole.
    fn open(&mut self) -> Result<(), TlsError> {
        let end = self.announced();
        let (cipher, nonce) = self.key.next()?;
        let record = self.bytes.bytes_mut().get_mut(..end).unwrap_or_default();
        let split = record.split_first_chunk_mut::<HEADER>();
        let (header, body) = split.ok_or(TlsError::Internal)?;
        let (body, tag) = body.split_last_chunk_mut::<TAG>().ok_or(TlsError::Internal)?;
        let (nonce, tag) = ((&nonce).into(), (&*tag).into());
        let opened = cipher.decrypt_in_place_detached(nonce, header, body, tag);
        opened.map_err(|_| TlsError::Decrypt)?;
        let (content, kind) = flight::unpad(body).ok_or(TlsError::Unexpected)?;
        match kind {
            DATA => self.content = HEADER..HEADER.saturating_add(content.len()),
            ALERT => match *content {
                [_, CLOSE_NOTIFY] => self.end = Some(Ok(())),
                [_, USER_CANCELED] => {}
                [_, code] => return Err(TlsError::Alert(code)),
                _ => return Err(TlsError::Unexpected),
            },
            HANDSHAKE => flight::after(content)?,
            _ => return Err(TlsError::Unexpected),
        }
        Ok(())
    }
}

/// The direction to the peer.
pub(super) struct Outgoing<'b> {
    pub(super) key: RecordKey,
    bytes: Lent<'b>,
    /// So many bytes of content wait for their record to be sealed.
    content: usize,
    /// What is left to be written of a sealed record.
    sealed: Range<usize>,
    /// close_notify was sealed.
    closed: bool,
}

impl<'b> Outgoing<'b> {
    pub(super) const fn new(key: RecordKey, bytes: Lent<'b>) -> Self {
        Self {
            key,
            bytes,
            content: 0,
            sealed: 0..0,
            closed: false,
        }
    }

    /// As much content as a record takes.
    fn room(&self) -> usize {
        longest(self.bytes.bytes().len())
            .saturating_sub(TAG + 1)
            .min(MAX_CONTENT)
    }

    /// Takes content, 0 bytes as long as a sealed record is not written. A full record is sealed.
    pub(super) fn put(&mut self, content: &[u8]) -> Result<usize, TlsError> {
        if self.closed {
            return Err(TlsError::Closed);
        }
        if !self.sealed.is_empty() {
            return Ok(0);
        }
        // The last record tells the end, and content that was taken has one to leave in.
        if self.content == 0 && self.key.left() <= 1 {
            return Err(TlsError::Worn);
        }
        let count = content.len().min(self.room().saturating_sub(self.content));
        let start = HEADER.saturating_add(self.content);
        let to = self.bytes.bytes_mut().get_mut(start..start.saturating_add(count));
        if let (Some(to), Some(from)) = (to, content.get(..count)) {
            copy(from, to);
        }
        self.content = self.content.saturating_add(count);
        if self.content == self.room() {
            self.seal(DATA)?;
        }
        Ok(count)
    }

    /// What waits becomes a record.
    pub(super) fn finish(&mut self) -> Result<(), TlsError> {
        if self.content > 0 && self.sealed.is_empty() {
            self.seal(DATA)?;
        }
        Ok(())
    }

    /// After all that was sealed is written: close_notify becomes a record, once.
    pub(super) fn close(&mut self) -> Result<(), TlsError> {
        if self.closed || !self.sealed.is_empty() {
            return Ok(());
        }
        if let Some(alert) = self.bytes.bytes_mut().get_mut(HEADER..HEADER + 2) {
            copy(&[1, CLOSE_NOTIFY], alert);
        }
        self.content = 2;
        self.seal(ALERT)?;
        self.closed = true;
        Ok(())
    }

    fn seal(&mut self, kind: u8) -> Result<(), TlsError> {
        let (cipher, nonce) = self.key.next()?;
        let length = self.content.saturating_add(1 + TAG);
        let end = HEADER.saturating_add(length);
        let record = self.bytes.bytes_mut().get_mut(..end).unwrap_or_default();
        let split = record.split_first_chunk_mut::<HEADER>();
        let (header, body) = split.ok_or(TlsError::Internal)?;
        let (body, tag) = body.split_last_chunk_mut::<TAG>().ok_or(TlsError::Internal)?;
        let [high, low] = u16::try_from(length).map_err(|_| TlsError::Internal)?.to_be_bytes();
        *header = [DATA, 3, 3, high, low];
        if let Some(last) = body.last_mut() {
            *last = kind;
        }
        let sealed = cipher.encrypt_in_place_detached((&nonce).into(), header, body);
        *tag = sealed.map_err(|_| TlsError::Internal)?.into();
        self.content = 0;
        self.sealed = 0..end;
        Ok(())
    }

    /// What is to be written.
    pub(super) fn unsent(&self) -> &[u8] {
        self.bytes.bytes().get(self.sealed.clone()).unwrap_or_default()
    }

    /// The transport has taken so much of it.
    pub(super) const fn sent(&mut self, count: usize) {
        self.sealed.start = self.sealed.start.saturating_add(count);
    }
}

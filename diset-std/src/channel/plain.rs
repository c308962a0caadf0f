//! The channel that changes nothing: plain TCP and Unix sockets.

use super::{Channel, ChannelError, Established, Lasts, OutBuf, Received};
use crate::tls::Credentials;

/// A channel that passes every byte through, for a peer that is what `credentials` say from the start.
pub(crate) fn plain(credentials: Credentials) -> Box<dyn Channel> {
    Box::new(Plain {
        news: Some(Established {
            credentials: Ok(credentials),
            resumed: false,
            lasts: Lasts::default(),
        }),
        closed: false,
    })
}

struct Plain {
    /// What `established` has not told yet.
    news: Option<Established>,
    closed: bool,
}

impl Channel for Plain {
    fn receive(
        &mut self,
        incoming: &mut [u8],
        _: &mut OutBuf,
        plaintext: &mut dyn FnMut(&[u8]),
    ) -> Result<Received, ChannelError> {
        if !self.closed && !incoming.is_empty() {
            plaintext(incoming);
        }
        // There is no orderly end but that of the socket.
        Ok(Received::new(incoming.len()))
    }

    fn seal(&mut self, plaintext: &[u8], outgoing: &mut OutBuf) -> Result<usize, ChannelError> {
        if self.closed {
            return Err(ChannelError::Finished);
        }
        outgoing.extend(plaintext);
        Ok(plaintext.len())
    }

    fn close(&mut self, _: &mut OutBuf) {
        self.closed = true;
    }

    fn established(&mut self) -> Option<Established> {
        self.news.take()
    }

    fn is_established(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_bytes_until_closed() -> Result<(), ChannelError> {
        let mut channel = plain(Credentials::Unix {
            uid: 1,
            gid: 2,
            pid: None,
        });
        let mut out = OutBuf::default();
        assert!(matches!(
            channel.established(),
            Some(Established {
                credentials: Ok(Credentials::Unix { uid: 1, .. }),
                ..
            })
        ));
        assert!(channel.established().is_none());
        let mut seen = Vec::new();
        let received = channel.receive(&mut b"abc".to_vec(), &mut out, &mut |piece| {
            seen.extend_from_slice(piece);
        })?;
        assert_eq!(received, Received::new(3));
        assert_eq!(seen, b"abc");
        channel.seal(b"xyz", &mut out)?;
        assert_eq!(out.pending(), b"xyz");
        channel.close(&mut out);
        assert!(matches!(channel.seal(b"more", &mut out), Err(ChannelError::Finished)));
        let received = channel.receive(&mut b"late".to_vec(), &mut out, &mut |_| panic!("closed"))?;
        assert_eq!(received.consumed, 4);
        Ok(())
    }
}

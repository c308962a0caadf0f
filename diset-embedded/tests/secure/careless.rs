//! A channel that may not say when it is worn: then it is the service that ends the connection in time.

use diset_embedded::{Channel, Open, blocking};

/// Over a channel, or over what opens one.
pub(crate) struct Perhaps<C> {
    pub(crate) within: C,
    pub(crate) says_worn: bool,
}

impl<O: blocking::Open> blocking::Open for Perhaps<O> {
    type Channel = Perhaps<O::Channel>;
    type Error = O::Error;

    fn open(self) -> Result<Self::Channel, O::Error> {
        Ok(Perhaps {
            within: self.within.open()?,
            says_worn: self.says_worn,
        })
    }
}

impl<O: Open> Open for Perhaps<O> {
    type Channel = Perhaps<O::Channel>;
    type Error = O::Error;

    async fn open(self) -> Result<Self::Channel, O::Error> {
        Ok(Perhaps {
            within: self.within.open().await?,
            says_worn: self.says_worn,
        })
    }
}

impl<C: embedded_io::ErrorType> embedded_io::ErrorType for Perhaps<C> {
    type Error = C::Error;
}

impl<C: blocking::Channel> blocking::Channel for Perhaps<C> {
    fn read_ready(&mut self) -> Result<bool, C::Error> {
        self.within.read_ready()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, C::Error> {
        self.within.read(buffer)
    }

    fn write_ready(&mut self) -> Result<bool, C::Error> {
        self.within.write_ready()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, C::Error> {
        self.within.write(bytes)
    }

    fn flush(&mut self) -> Result<(), C::Error> {
        self.within.flush()
    }

    fn close(&mut self) -> Result<(), C::Error> {
        self.within.close()
    }

    fn max_records(&self) -> Option<u32> {
        self.within.max_records()
    }

    fn is_worn(&self) -> bool {
        self.says_worn && self.within.is_worn()
    }
}

impl<C: Channel> Channel for Perhaps<C> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, C::Error> {
        self.within.read(buffer).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<usize, C::Error> {
        self.within.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), C::Error> {
        self.within.flush().await
    }

    async fn close(&mut self) -> Result<(), C::Error> {
        self.within.close().await
    }

    fn max_records(&self) -> Option<u32> {
        self.within.max_records()
    }

    fn is_worn(&self) -> bool {
        self.says_worn && self.within.is_worn()
    }
}

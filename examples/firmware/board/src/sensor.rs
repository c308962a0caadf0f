//! A sensor that the emulated board does not have: figures that go up and down.

/// The sensor.
pub struct Sensor {
    count: u16,
}

/// What it measures.
#[non_exhaustive]
pub struct Measured {
    /// Degrees Celsius.
    pub celsius: f32,
    /// Millivolts of the supply.
    pub millivolts: u16,
}

impl Sensor {
    pub(crate) const fn new() -> Self {
        Self { count: 0 }
    }

    /// Measures.
    pub fn measure(&mut self) -> Measured {
        self.count = self.count.wrapping_add(1);
        let step = self.count % 16;
        Measured {
            celsius: 20.0 + f32::from(step) / 8.0,
            millivolts: 3300 - step,
        }
    }
}

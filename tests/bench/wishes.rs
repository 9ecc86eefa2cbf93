//! What a run of the benchmark measures.

use crate::shapes::Shape;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// What to measure; nothing: all of it.
    pub parts: Vec<String>,
    /// 1 is the size named in the tables.
    pub scale: f64,
    shapes: Vec<String>,
    /// Rounds of which the median is shown.
    pub rounds: usize,
}

impl Wishes {
    /// Of the command line.
    pub fn read() -> Self {
        let mut wishes = Self { parts: Vec::new(), shapes: Vec::new(), scale: 1.0, rounds: 3 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            if argument == "--shape" {
                let shape = arguments.next().expect("a shape");
                let known = Shape::ALL.map(Shape::name);
                assert!(known.contains(&shape.as_str()), "unknown shape {shape}; there are {}", known.join(", "));
                wishes.shapes.push(shape);
                continue;
            }
            let mut number = || arguments.next().and_then(|text| text.parse::<f64>().ok()).expect("a number");
            match argument.as_str() {
                // What `cargo bench` itself passes on.
                "--bench" => {}
                "--scale" => wishes.scale = number(),
                "--rounds" => wishes.rounds = (number() as usize).max(1),
                part if ["wizard", "copy", "catchup", "follow", "growth", "verify", "downtime"].contains(&part) => {
                    wishes.parts.push(part.into())
                }
                other => panic!("unknown argument {other}"),
            }
        }
        wishes
    }

    /// A part that was named, or any when none was.
    pub fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// A shape that was named, or any when none was.
    pub fn wants_shape(&self, name: &str) -> bool {
        self.shapes.is_empty() || self.shapes.iter().any(|wanted| wanted == name)
    }

    /// A number of documents at this scale, at least `least`.
    pub fn scaled(&self, count: u64, least: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(least)
    }
}

//! Networks of the user's.

use crate::{Target, onnx};
use dalle::Error;
use dalle::data::Picture;
use dalle::evaluate::network::{Network, Reading};

#[test]
fn networks() {
    // The library that reads networks looped on the second without end.
    let corpus = [
        ("good-means".to_owned(), onnx::means(8)),
        ("bad-number-without-end".to_owned(), vec![0xf5; 46]),
        ("bad-empty".to_owned(), Vec::new()),
    ];
    let picture = Picture { width: 8, height: 8, rgb: vec![9; 192] };
    Target::new("onnx", 4).read(&corpus, |path| {
        // Whether the side that was asked for is the network's is the caller's business, not the file's.
        let network = match Network::open(path, Reading { side: Some(8), ..Reading::default() }) {
            Err(Error::Usage(what)) => return Err(Error::data(path, what)),
            opened => opened?,
        };
        network.see(std::slice::from_ref(&picture)).map(drop)
    });
}

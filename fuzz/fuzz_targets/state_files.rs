//! Any bytes as a `state.json` or a journal; what is read is written and read again as the same.

use isolate::store::{Saved, Undo};

pub fn run(data: &[u8]) {
    for record in Undo::parse(data) {
        let line = serde_json::to_vec(&record).expect("can be written");
        assert_eq!(serde_json::from_slice::<Undo>(&line).expect("can be read"), record);
    }
    if let Ok(saved) = serde_json::from_slice::<Saved>(data) {
        let text = serde_json::to_vec(&saved).expect("can be written");
        assert_eq!(serde_json::from_slice::<Saved>(&text).expect("can be read"), saved);
    }
}

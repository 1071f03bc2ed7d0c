//! The value of every key that a spec leaves out: the recipe of the small scale, scaled by what the spec does say and by how
//! many pictures there are to train on.

use super::{
    ClipConfig, DataKind, DataSpec, EvaluateSpec, FirstStageConfig, GpuSpec, Method, SampleSpec, Spec, TextSpec,
    TransformerConfig, updates,
};
use crate::shape::{DvaeShape, Preset, TransformerShape};
use crate::with_preset;
use dfdx::shapes::ConstDim;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

/// The keys that move other keys' defaults, besides `name` and `preset`.
pub const MOVERS: [&str; 7] = [
    "data.kind",
    "first_stage.steps",
    "first_stage.optimizer.method",
    "transformer.steps",
    "transformer.optimizer.method",
    "clip.steps",
    "clip.optimizer.method",
];

/// The spec that leaves out every key that `given` may leave out. `pictures` are those to train on, where that is known and
/// bounds how long they should be seen.
pub fn of(given: &Value, pictures: Option<usize>) -> Spec {
    let text = |key: &str| given[key].as_str().unwrap_or_default().to_owned();
    let (preset, name) = (text("preset"), text("name"));
    let (first, transformer, clip) = (FirstStageConfig::default(), TransformerConfig::default(), ClipConfig::default());
    let steps = |stage: &str, default: u64| read(&given[stage]["steps"]).unwrap_or(default);
    let method = |stage: &str| read::<Method>(&given[stage]["optimizer"]["method"]).unwrap_or(Method::Muon);
    Spec {
        name,
        seed: 0,
        data: DataSpec::of(read(&given["data"]["kind"]).unwrap_or(DataKind::Shapes)),
        text: TextSpec::default(),
        first_stage: FirstStageConfig::recipe(steps("first_stage", first.steps), method("first_stage")),
        transformer: TransformerConfig::recipe(
            steps("transformer", updates(transformer.steps, pictures)),
            method("transformer"),
            grid(&preset),
        ),
        clip: ClipConfig::recipe(steps("clip", updates(clip.steps, pictures)), method("clip")),
        sample: SampleSpec::default(),
        evaluate: EvaluateSpec::default(),
        gpu: GpuSpec::default(),
        expect: Vec::new(),
        preset,
    }
}

/// The spec of `preset` that says nothing else.
pub fn plain(preset: &str) -> Spec {
    of(&Value::Mapping([("preset".into(), preset.into())].into_iter().collect()), None)
}

/// `given` with every key that it leaves out.
pub fn fill(given: Value, pictures: Option<usize>) -> Value {
    match serde_yaml::to_value(of(&given, pictures)) {
        Ok(defaults) => over(defaults, given),
        // Nothing of a default is beyond YAML; what is given is then read, or refused, as it is.
        Err(_) => given,
    }
}

/// `above` laid over `below`: mappings merge, everything else replaces.
fn over(below: Value, above: Value) -> Value {
    match (below, above) {
        (Value::Mapping(mut below), Value::Mapping(above)) => {
            for (key, value) in above {
                let value = match below.remove(&key) {
                    Some(default) => over(default, value),
                    None => value,
                };
                below.insert(key, value);
            }
            Value::Mapping(below)
        }
        (_, above) => above,
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value.clone()).ok()
}

/// The side of a preset's pictures; none of one that is in no table.
pub fn side(preset: &str) -> Option<usize> {
    with_preset!(preset, P => <<<P as Preset>::Dvae as DvaeShape>::Side as ConstDim>::SIZE)
}

/// Layers of a preset's transformer, and tokens of its texts; none of one that is in no table.
pub fn sizes(preset: &str) -> Option<(usize, usize)> {
    with_preset!(preset, P => (<<P as Preset>::Transformer as TransformerShape>::DEPTH, <P as Preset>::BPE))
}

/// Side of pictures, side of the grid and number of codes of a preset's first stage; none of one that is in no table.
pub fn geometry(preset: &str) -> Option<[usize; 3]> {
    with_preset!(preset, P => [
        <<<P as Preset>::Dvae as DvaeShape>::Side as ConstDim>::SIZE,
        <<<P as Preset>::Dvae as DvaeShape>::Grid as ConstDim>::SIZE,
        <<<P as Preset>::Dvae as DvaeShape>::Codes as ConstDim>::SIZE,
    ])
}

/// The side of a preset's token grid; one that is in no table has the quickstart's.
fn grid(preset: &str) -> usize {
    with_preset!(preset, P => <<<P as Preset>::Dvae as DvaeShape>::Grid as ConstDim>::SIZE).unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Spec {
        filled_for(text, None)
    }

    fn filled_for(text: &str, pictures: Option<usize>) -> Spec {
        serde_yaml::from_value(fill(serde_yaml::from_str(text).unwrap(), pictures)).unwrap()
    }

    #[test]
    fn few_pictures_are_seen_for_a_shorter_time() {
        let of = |text, pictures| {
            let spec = filled_for(text, pictures);
            (spec.first_stage.steps, spec.transformer.steps, spec.transformer.validate_every, spec.clip.steps)
        };
        let plain = "{name: a, preset: tiny, data: {kind: folder}}";
        assert_eq!(of(plain, None), (3000, 2000, 133, 1000));
        assert_eq!(of(plain, Some(54)), (3000, 294, 19, 147));
        assert_eq!([2500, 1 << 40].map(|n| of(plain, Some(n))), [of(plain, None); 2]);
        assert_eq!(of(plain, Some(0)).1, 1);
        let given = "{name: a, preset: tiny, transformer: {steps: 900}}";
        assert_eq!(of(given, Some(54)), (3000, 900, 60, 147));
    }

    #[test]
    fn what_is_given_stays_and_its_neighbours_are_filled() {
        let spec = filled("{name: a, preset: tiny, clip: {optimizer: {lr: {from: 0.5}}}, data: {kind: folder}}");
        let rate = spec.clip.optimizer.lr;
        assert_eq!((rate.from, rate.to, rate.warmup), (0.5, 1e-4, 50));
        assert_eq!((spec.name.as_str(), spec.data.kind, spec.data.flip), ("a", DataKind::Folder, true));
    }

    #[test]
    fn defaults_follow_steps_method_preset_and_kind() {
        let [short, long] =
            [100, 6000].map(|n| filled(&format!("{{name: a, preset: mini, first_stage: {{steps: {n}}}}}")));
        assert_eq!((short.first_stage.temperature.steps, long.first_stage.temperature.steps), (90, 5400));
        assert_eq!((short.first_stage.kl_weight.steps, short.first_stage.validate_every), (61, 6));
        let adamw = filled("{name: a, preset: mini, transformer: {optimizer: {method: adamw}}}");
        assert_eq!((adamw.transformer.optimizer.lr.from, adamw.transformer.optimizer.beta1), (1e-3, 0.9));
        let kernels = ["tiny", "mini", "bench-s", "paper"]
            .map(|preset| filled(&format!("{{name: a, preset: {preset}}}")).transformer.conv_kernel);
        assert_eq!(kernels, [3, 5, 7, 11]);
        assert!(!filled("{name: a, preset: tiny}").data.flip);
    }

    #[test]
    fn maps_of_names_are_not_mixed_with_defaults() {
        let spec = filled("{name: a, preset: tiny, data: {kind: folder, validation: {one: [x]}}}");
        assert_eq!(spec.data.validation.keys().collect::<Vec<_>>(), ["one"]);
    }
}

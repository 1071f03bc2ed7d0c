//! What a pickle may say, and what of it is read, left opaque, or refused.

use super::crafted::{all, archive, dict, part, refused, tensor};
use dalle::import::{Kind, Weights, import};

#[test]
fn what_would_run_is_never_called_and_no_file_is_that_alone() {
    for (pickle, expected) in [
        (&b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."[..], "expected tensors, got a call of \"os system\""),
        (b"\x80\x02}cbuiltins\neval\n.", "call of \"builtins eval\""),
        (b"\x80\x02cposix\nsystem\n.", "call of \"posix system\""),
        (b"\x80\x02ctorch\nload\n.", "call of \"torch load\""),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", "_load_from_bytes"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "call of \"os system\""),
        (b"\x80\x02(ios\nsystem\n.", "byte 3: opcode 0x69 (INST) is not allowed"),
        (b"\x80\x02(o.", "opcode 0x6f (OBJ)"),
        (b"\x80\x02\x82\x01.", "opcode 0x82 (EXT)"),
        (b"\x80\x02\xff.", "opcode 0xff is not allowed"),
    ] {
        refused(archive(pickle), expected);
    }
}

#[test]
fn what_is_not_known_is_opaque_and_only_a_tensor_that_needs_it_refuses_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let write = |pickle: &[u8]| {
        let path = folder.path().join("in.pt");
        std::fs::write(&path, archive(pickle)).unwrap();
        path
    };
    // A trainer's own class, built and given attributes and items, beside a tensor.
    let namespace = b"cargparse\nNamespace\n)R}b";
    let own = b"cmy.code\nOwn\n)\x81(NNu";
    let path = write(&dict(&[("w", &part()), ("args", namespace), ("own", own), ("f", b"cos\nsystem\n")]));
    let weights = Weights::open(&path).unwrap();
    assert_eq!(weights.tensors().len(), 1);
    let opaque: Vec<&str> = weights.opaque.iter().map(|(_, global)| global.as_str()).collect();
    assert_eq!(opaque, ["argparse Namespace", "my.code Own", "os system"]);
    let imported = import(Kind::Torch, &[path], &out).unwrap();
    assert!(imported.left_out[0].starts_with("3 values that only running the file"), "{:?}", imported.left_out);
    // A tensor that nobody here knows how to rebuild.
    let quantised = dict(&[("w", &part()), ("q", b"ctorch._utils\n_rebuild_qtensor\n)R")]);
    let path = write(&quantised);
    assert_eq!(Weights::open(&path).unwrap().tensors().len(), 1);
    let error = import(Kind::Torch, &[path], &out).unwrap_err().to_string();
    assert!(error.contains("tensor q cannot be read: it is made by \"torch._utils _rebuild_qtensor\""), "{error}");
    let path = write(&dict(&[("w", &part()), ("text_projection", b"ctorch._utils\n_rebuild_qtensor\n)R")]));
    let error = import(Kind::OpenaiClip, std::slice::from_ref(&path), &out).unwrap_err().to_string();
    assert!(error.contains("text_projection") && error.contains("_rebuild_qtensor"), "{error}");
    let error = Weights::open(&path).unwrap().parameter("text_projection", &[4]).unwrap_err().to_string();
    assert!(error.contains("_rebuild_qtensor"), "{error}");
    // A function that rebuilds by a function that rebuilds, and so on.
    let cyclic = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\0](h\0NNeq\x01h\0h\x01R.";
    refused(archive(cyclic), "expected another function");
}

#[test]
fn newer_ways_to_rebuild_a_tensor_are_read() {
    // A parameter with state, and a tensor of a class of its own.
    let parameter = [&b"ctorch._utils\n_rebuild_parameter_with_state\n("[..], &part(), b"\x88N}tR"].concat();
    let inner = part();
    let inner = inner.strip_prefix(b"ctorch._utils\n_rebuild_tensor_v2\n").unwrap().strip_suffix(b"R").unwrap();
    let own = [
        &b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\ncmy.code\nTensor\n"[..],
        inner,
        b"}tR",
    ]
    .concat();
    // Dtypes that have no storage of their own: two bytes, and one, a value.
    let third = |dtype: &str, values: u8| {
        let storage = b"((X\x07\0\0\0storagectorch.storage\nUntypedStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQK\x00K";
        let rest = format!("ctorch\n{dtype}\ntR");
        [
            b"ctorch._utils\n_rebuild_tensor_v3\n",
            &storage[..],
            &[values, 0x85, b'K', 1, 0x85],
            b"\x89N",
            rest.as_bytes(),
        ]
        .concat()
    };
    let entries = [
        ("p", parameter),
        ("t", own),
        ("u", third("uint16", 8)),
        ("f", third("float8_e4m3fn", 16)),
        ("n", third("float4_e2m1fn_x2", 16)),
    ];
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let weights = Weights::from_bytes("new", archive(&dict(&entries))).unwrap();
    use safetensors::Dtype;
    let found: Vec<_> = weights.tensors().iter().map(|t| (t.name.as_str(), t.dtype, t.shape[0])).collect();
    let expected = [("p", Dtype::F32, 4), ("t", Dtype::F32, 4), ("u", Dtype::U16, 8), ("f", Dtype::F8_E4M3, 16)];
    assert_eq!(found, expected);
    assert_eq!(weights.opaque, [("n".to_owned(), "torch float4_e2m1fn_x2".to_owned())]);
    let error = weights.parameter("u", &[8]).unwrap_err().to_string();
    assert!(error.contains("tensor u: expected floating point, got U16"), "{error}");
    let outside = archive(&dict(&[("u", &third("uint16", 9))]));
    refused(outside, "tensor u: shape [9] is too large");
}

#[test]
fn a_pickle_that_makes_no_sense_is_refused() {
    for (pickle, expected) in [
        (&b""[..], "truncated"),
        (b"\x80\x02", "truncated"),
        (b".", "the stack is empty"),
        (b"t.", "no mark"),
        (b"N(0.", "the stack is empty"),
        (b"h\x05.", "nothing is remembered as 5"),
        (b"Na.", "the stack is empty"),
        (b"NNa.", "expected a list"),
        (b"}(Nu.", "keys and values"),
        (b"N)R.", "expected a global to call"),
        (b"ctorch\nFloatStorage\n)R.", "cannot be called"),
        (b"NNb.", "expected an object"),
        (b")Q.", "expected a storage's class"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "expected a storage, an offset"),
        (b"X\xff\xff\xff\xff.", "expected a text of at most"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "expected a text of at most"),
        (b"X\x01\0\0\0\xff.", "expected UTF-8"),
        (b"\x8a\x09123456789.", "an integer of at most 8 bytes"),
    ] {
        refused(archive(pickle), expected);
    }
    // A large value that is copied again and again.
    let list = [&b"c__builtin__\nset\nq\0(("[..], &b"N".repeat(1000), b"lt"].concat();
    let copies = [&list[..], b"q\x01", &b"0h\0h\x01R".repeat(2000), b"."].concat();
    refused(archive(&copies), "items of sets and dictionaries");
    let endless = [&b"c"[..], &[b'x'; 4096]].concat();
    refused(archive(&endless), "name of at most");
    let without_end = vec![b'N'; 3 << 20];
    refused(archive(&without_end), "opcodes");
}

#[test]
fn deep_wide_and_cyclic_values_are_bounded() {
    // Lists in lists.
    let deep = [vec![b']'; 5000], vec![b'a'; 4999], b".".to_vec()].concat();
    refused(archive(&deep), "levels");
    // A list that holds itself.
    refused(archive(b"]q\0h\0a."), "levels");
    // Each list holds the one before it twice: 2⁴⁰ values in a few bytes.
    let mut doubling = b"]q\0".to_vec();
    for _ in 0..40 {
        doubling.extend(b"q\x01](h\x01h\x01e");
    }
    doubling.push(b'.');
    refused(archive(&doubling), "values");
    // One tensor under so many names that writing them all would fill a disk.
    let one = tensor(4, 0, &[4], &[1]);
    let mut many = b"\x80\x02](".to_vec();
    many.extend(&one[2..one.len() - 1]);
    many.extend(b"q\0");
    many.extend(b"h\0".repeat(200_000));
    many.extend(b"e.");
    refused(archive(&many), "expected at most 65536 tensors");
}

#[test]
fn a_tensor_stays_in_its_storage() {
    for (pickle, expected) in [
        (tensor(5, 0, &[5], &[1]), "expected 5 values, got 4"),
        (tensor(i64::MAX, 0, &[1], &[1]), "values, got 4"),
        (tensor(-1, 0, &[1], &[1]), "count"),
        (tensor(4, 1, &[4], &[1]), "reach past the end"),
        (tensor(4, 4, &[], &[]), "reach past the end"),
        (tensor(4, i64::MAX, &[2], &[1]), "reach past the end"),
        (tensor(4, 0, &[2], &[i64::MAX]), "reach past the end"),
        (tensor(4, -1, &[1], &[1]), "expected a storage, an offset"),
        (tensor(4, 0, &[-1], &[1]), "expected a storage, an offset"),
        (tensor(4, 0, &[2, 2], &[1]), "expected a storage, an offset"),
        (tensor(4, 0, &[1 << 40], &[0]), "too large"),
        (tensor(4, 0, &[i64::MAX, i64::MAX, i64::MAX], &[0, 0, 0]), "too large"),
        (tensor(4, 0, &[0, i64::MAX, i64::MAX], &[0, 0, 0]), "too large"),
        (tensor(4, 0, &[1; 17], &[1; 17]), "expected a storage, an offset"),
    ] {
        refused(archive(&pickle), expected);
    }
    assert_eq!(all(archive(&tensor(4, i64::MAX, &[0, i64::MAX], &[1, 1]))), Ok(0));
}

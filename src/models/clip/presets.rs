//! CLIP's published sizes (arXiv 2103.00020, tables 19 and 20) as types. Heads are width/64 everywhere.

use crate::{block, clip, text_tower};

block!(
    /// The text tower's blocks beside ViT-B.
    Text512: dim 512, heads 8);
block!(
    /// The text tower's blocks beside ViT-L, and ViT-B's own.
    Wide768: dim 768, heads 12);
block!(
    /// ViT-L's blocks.
    Wide1024: dim 1024, heads 16);

clip!(
    /// ViT-B/32.
    VitB32: side 224, patch 32, vision Wide768 x 12; context 77, vocab 49408, language Text512 x 12, embed 512);
clip!(
    /// ViT-B/16.
    VitB16: side 224, patch 16, vision Wide768 x 12; context 77, vocab 49408, language Text512 x 12, embed 512);
clip!(
    /// ViT-L/14.
    VitL14: side 224, patch 14, vision Wide1024 x 24; context 77, vocab 49408, language Wide768 x 12, embed 768);
text_tower!(
    /// RN50's text tower, beside the picture tower [`ResNetSizes::RN50`](super::resnet::ResNetSizes::RN50).
    Rn50: context 77, vocab 49408, language Text512 x 12, embed 1024);

#!/usr/bin/env python3
"""PyTorch peers for the works of `experiment bench`; scripts/bench-vs-torch.sh runs both by turns.

One JSON line a measurement: {"peer", "work", "value", "unit", "peak_rss_mib"}; the peak is the process's so far, so for memory run one work per process.
Needs (PyPI): torch; for the dVAE works and the dalle-pytorch peer also, with --no-deps: DALL-E attrs, dalle-pytorch einops rotary-embedding-torch axial-positional-embedding.
usage: peers.py [--device cpu|cuda] [--dtype f32|bf16|f16] [work ...]   work: gemm attention train-s train-l sample-l dvae-train dvae-256 clip-b32
"""
import argparse, json, math, os, resource, sys, time, types
import torch, torch.nn as nn, torch.nn.functional as F
ap = argparse.ArgumentParser(); ap.add_argument("--device", default="cpu"); ap.add_argument("--dtype", default="f32"); ap.add_argument("works", nargs="*")
A = ap.parse_args(); DEV = A.device; DT = dict(f32=torch.float32, bf16=torch.bfloat16, f16=torch.float16)[A.dtype]
torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS") or os.cpu_count())); torch.manual_seed(0); torch.set_default_device(DEV)

CFG = {  # text, grid, width, heads, layers, text vocab (pads included), image vocab, batch, conv kernel
    "train-s": dict(text=64, grid=16, d=512, h=8, L=8, tv=4096 + 64, iv=1024, b=8, k=7),
    "train-l": dict(text=256, grid=32, d=512, h=8, L=8, tv=16384 + 256, iv=8192, b=1, k=11),
}
CFG["sample-l"] = CFG["train-l"]

def emit(peer, work, value, unit):
    print(json.dumps(dict(peer=peer, work=work, value=round(value, 4), unit=unit, dtype=A.dtype, device=DEV, peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)), flush=True)
def sync():
    if DEV == "cuda": torch.cuda.synchronize()
def timed(f, n=5, warm=2):
    """Median seconds of n calls, after warm ones."""
    for _ in range(warm): f()
    ts = []
    for _ in range(n):
        sync(); t = time.perf_counter(); f(); sync(); ts.append(time.perf_counter() - t)
    return sorted(ts)[n // 2]
amp = lambda: torch.autocast(DEV, DT, enabled=DT != torch.float32)

def mask(kind, text, grid, k):
    n = text + grid * grid
    m = torch.ones(n, n).tril().bool()
    i = torch.arange(grid * grid); q, kk = i[:, None], i[None, :]; off = q - kk
    if kind == "row": keep = (off >= 0) & (off <= grid)
    elif kind == "col": keep = (off >= 0) & (off % grid == 0)
    else:
        r = k // 2; keep = torch.zeros_like(off, dtype=torch.bool)
        for dr in range(0, r + 1):
            for dc in range(-r, r + 1):
                o = dr * grid + dc
                if o >= 0: keep |= off == o
    m[text:, text:] = keep
    return m

class Block(nn.Module):
    def __init__(s, d, h):
        super().__init__(); s.h = h
        s.n1, s.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        s.qkv, s.o, s.up, s.dn = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
    def attn(s, x, m, cache=None, pos=None):
        B, T, D = x.shape
        q, k, v = s.qkv(x).view(B, T, 3, s.h, D // s.h).permute(2, 0, 3, 1, 4)
        if cache is not None:
            cache[0][:, :, pos:pos + T] = k; cache[1][:, :, pos:pos + T] = v
            k, v = cache[0][:, :, :pos + T], cache[1][:, :, :pos + T]
            m = m[pos:pos + T, :pos + T]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=m)
        return s.o(y.transpose(1, 2).reshape(B, T, D))
    def forward(s, x, m, cache=None, pos=None, quick=False):
        x = x + s.attn(s.n1(x), m, cache, pos); u = s.up(s.n2(x))
        return x + s.dn(u * torch.sigmoid(1.702 * u) if quick else F.gelu(u, approximate="tanh"))

class Dalle(nn.Module):
    def __init__(s, text, grid, d, h, L, tv, iv, k, **_):
        super().__init__(); s.text, s.grid = text, grid
        s.te, s.tp = nn.Embedding(tv, d), nn.Embedding(text, d)
        s.ie, s.rp, s.cp = nn.Embedding(iv, d), nn.Embedding(grid, d), nn.Embedding(grid, d)
        s.blocks = nn.ModuleList(Block(d, h) for _ in range(L)); s.nf = nn.LayerNorm(d)
        s.lt, s.li = nn.Linear(d, tv), nn.Linear(d, iv)
        kinds = ["conv" if i == L else ("col" if (i - 2) % 4 == 0 else "row") for i in range(1, L + 1)]
        s.masks = [mask(kd, text, grid, k) for kd in kinds]
    def embed(s, t, im):
        i = torch.arange(im.shape[1])
        return torch.cat([s.te(t) + s.tp.weight, s.ie(im) + s.rp(i // s.grid) + s.cp(i % s.grid)], 1)
    def forward(s, t, im):
        x = s.embed(t, im)
        for b, m in zip(s.blocks, s.masks): x = b(x, m)
        x = s.nf(x)
        lt = F.cross_entropy(s.lt(x[:, :s.text - 1]).flatten(0, 1), t[:, 1:].flatten())
        li = F.cross_entropy(s.li(x[:, s.text - 1:-1]).flatten(0, 1), im.flatten())
        return (lt + 7 * li) / 8

def batch(c): return torch.randint(0, c["tv"], (c["b"], c["text"])), torch.randint(0, c["iv"], (c["b"], c["grid"] ** 2))

def train(work):
    c = CFG[work]; t, im = batch(c); toks = c["b"] * (c["text"] + c["grid"] ** 2)
    for name, comp in (("torch-sdpa", False), ("torch-sdpa-compiled", True)):
        m = Dalle(**c); opt = torch.optim.AdamW(m.parameters(), lr=1e-4, fused=True)
        fwd = torch.compile(m) if comp else m
        def step():
            with amp(): loss = fwd(t, im)
            loss.backward(); torch.nn.utils.clip_grad_norm_(m.parameters(), 4.0); opt.step(); opt.zero_grad()
        try: emit(name, work, toks / timed(step), "tokens/s")
        except Exception as e: print("#", name, "failed:", str(e)[:200])
    try:
        stubs = {"youtokentome": [], "transformers": ["BertTokenizer"], "taming": [], "taming.models": [], "omegaconf": ["OmegaConf"],
                 "taming.models.vqgan": ["VQModel", "GumbelVQ"]}  # imports of the peer that this work does not use
        for n, names in stubs.items():
            mod = types.ModuleType(n); [setattr(mod, a, object) for a in names]; sys.modules.setdefault(n, mod)
        pr = types.ModuleType("pkg_resources"); pr.get_distribution = lambda n: types.SimpleNamespace(version="1.6.6"); sys.modules["pkg_resources"] = pr
        from dalle_pytorch.dalle_pytorch import DALLE, DiscreteVAE
        vae = DiscreteVAE(image_size=c["grid"] * 8, num_layers=3, num_tokens=c["iv"], codebook_dim=64, hidden_dim=8)
        m = DALLE(dim=c["d"], vae=vae, num_text_tokens=c["tv"] - c["text"], text_seq_len=c["text"], depth=c["L"], heads=c["h"],
                  dim_head=c["d"] // c["h"], attn_types=("axial_row", "axial_col", "axial_row", "axial_row"), loss_img_weight=7)
        opt = torch.optim.AdamW(m.parameters(), lr=1e-4)
        tt = torch.randint(1, c["tv"] - c["text"], (c["b"], c["text"]))
        def step():
            loss = m(tt, im, return_loss=True); loss.backward(); torch.nn.utils.clip_grad_norm_(m.parameters(), 4.0); opt.step(); opt.zero_grad()
        emit("dalle-pytorch-as-shipped", work, toks / timed(step, 3), "tokens/s")
    except Exception as e: print("# dalle-pytorch failed:", repr(e)[:300])

@torch.no_grad()
def sample(work):
    """One prompt, b candidates, its prefix computed once; timed: image tokens 16 to 1023, median of 3 passes."""
    c = CFG[work]; m = Dalle(**c).eval().to(DT); n = c["text"] + c["grid"] ** 2
    for b in (1, 8) if DEV == "cpu" else (1, 8, 64):
        new = lambda r: [(torch.zeros(r, c["h"], n, c["d"] // c["h"], dtype=DT), torch.zeros(r, c["h"], n, c["d"] // c["h"], dtype=DT)) for _ in m.blocks]
        x = m.te(torch.randint(0, c["tv"], (1, c["text"]))) + m.tp.weight; pre = new(1)
        for blk, mk, ca in zip(m.blocks, m.masks, pre): x = blk(x, mk, ca, 0)
        def run():
            cache = [(k.expand(b, -1, -1, -1).clone(), v.expand(b, -1, -1, -1).clone()) for k, v in pre]
            cur = torch.randint(0, c["iv"], (b, 1)); t0 = None
            for pos in range(c["text"], n):
                if pos == c["text"] + 16: sync(); t0 = time.perf_counter()
                i = torch.tensor([pos - c["text"]]); y = m.ie(cur) + m.rp(i // m.grid) + m.cp(i % m.grid)
                for blk, mk, ca in zip(m.blocks, m.masks, cache): y = blk(y, mk, ca, pos)
                cur = torch.multinomial(m.li(m.nf(y[:, -1])).float().softmax(-1), 1)
            sync(); return time.perf_counter() - t0
        dt = sorted(run() for _ in range(3))[1]
        emit("torch-sdpa-kv", f"{work}-b{b}", b * (c["grid"] ** 2 - 16) / dt, "image tokens/s")

def attention(_):
    c = CFG["train-l"]; n = c["text"] + c["grid"] ** 2
    q, k, v = (torch.randn(1, 8, n, 64, dtype=DT, requires_grad=True) for _ in range(3))
    for name, kw in [("dense-causal", dict(is_causal=True))] + [(kd, dict(attn_mask=mask(kd, c["text"], c["grid"], c["k"]))) for kd in ("row", "col", "conv")]:
        def step(): F.scaled_dot_product_attention(q, k, v, **kw).sum().backward()
        emit("torch-sdpa", f"attention-{name}", timed(step, 9) * 1e3, "ms")

def both(name, work, m, f, value, unit):
    """Eager, channels-last and compiled: the peer is the best of them."""
    emit(name, work, value(timed(lambda: f(m))), unit)
    try: emit(name + "-channels-last", work, value(timed(lambda: f(m.to(memory_format=torch.channels_last)))), unit)
    except Exception as e: print("#", repr(e)[:120])
    try: cm = torch.compile(m); emit(name + "-compiled", work, value(timed(lambda: f(cm))), unit)
    except Exception as e: print("#", repr(e)[:120])

class Dvae(nn.Module):
    def __init__(s, **k):
        super().__init__(); from dall_e import Encoder, Decoder
        n_init = k.pop("n_init", 128); s.e = Encoder(use_mixed_precision=False, **k).requires_grad_(True); s.d = Decoder(n_init=n_init, use_mixed_precision=False, **k).requires_grad_(True)
    def forward(s, x):
        # The blocks alone: the released classes refuse anything but f32, which autocast hands them. Losses are in f32.
        lg = s.e.blocks(x).float(); o = s.d.blocks(F.gumbel_softmax(lg, tau=.5, dim=1)).float(); mu, lb = o[:, :3], o[:, 3:]
        nll = (math.log(2) + lb + (x * (1 - x)).log() + (torch.logit(x) - mu).abs() * (-lb).exp()).sum((1, 2, 3)).mean()
        kl = (lg.softmax(1) * (lg.log_softmax(1) + math.log(lg.shape[1]))).sum((1, 2, 3)).mean()
        return (nll + 6.6 * kl) / x[0].numel()
def dvae_train(_):
    m = Dvae(n_hid=64, n_init=64, vocab_size=1024); x = torch.rand(8, 3, 64, 64) * .8 + .1; opt = torch.optim.AdamW(m.parameters(), lr=1e-4, fused=True)
    def step(m):
        with amp(): loss = m(x)
        loss.backward(); opt.step(); opt.zero_grad()
    both("torch", "dvae-train", m, step, lambda t: 8 / t, "images/s")
@torch.no_grad()
def dvae_256(_):
    m = Dvae().eval().to(DT); x = torch.rand(1, 3, 256, 256, dtype=DT)
    z = F.one_hot(torch.randint(0, 8192, (1, 32, 32)), 8192).permute(0, 3, 1, 2).to(DT)
    m.e.forward = lambda y: m.e.blocks(y); m.d.forward = lambda y: m.d.blocks(y)  # without the f32 check
    both("torch", "dvae-256-encode", m.e, lambda e: e(x), lambda t: t, "s/image"); both("torch", "dvae-256-decode", m.d, lambda d: d(z), lambda t: t, "s/image")
@torch.no_grad()
def clip_b32(_):
    class V(nn.Module):
        def __init__(s, w=768, L=12, h=12):
            super().__init__(); s.c = nn.Conv2d(3, w, 32, 32, bias=False); s.pos = nn.Parameter(torch.randn(50, w)); s.cls = nn.Parameter(torch.randn(w))
            s.b = nn.ModuleList(Block(w, h) for _ in range(L)); s.n0, s.n1 = nn.LayerNorm(w), nn.LayerNorm(w); s.p = nn.Parameter(torch.randn(w, 512))
        def forward(s, x):
            x = s.c(x).flatten(2).transpose(1, 2); x = torch.cat([s.cls.expand(x.shape[0], 1, -1), x], 1) + s.pos; x = s.n0(x)
            for b in s.b: x = b(x, None, quick=True)
            return s.n1(x[:, 0]) @ s.p
    m = V().eval().to(DT); x = torch.rand(16, 3, 224, 224, dtype=DT)
    both("torch", "clip-b32-images", m, lambda v: v(x), lambda t: 16 / t, "images/s")
@torch.no_grad()
def gemm(_):
    for m, k, n in ((2560, 512, 2048), (1280, 2048, 512), (8, 512, 2048)):
        a, b = torch.randn(m, k, dtype=DT), torch.randn(k, n, dtype=DT)
        emit("torch-blas", f"gemm-{m}x{k}x{n}", 2 * m * k * n / timed(lambda: a @ b, 15, 3) / 1e9, "GFLOP/s")
    big = torch.randn(64 << 20); dst = torch.empty_like(big)
    emit("torch", "copy-bandwidth", 2 * big.numel() * 4 / timed(lambda: dst.copy_(big), 5) / 1e9, "GB/s")

RUN = {"gemm": gemm, "attention": attention, "train-s": train, "train-l": train, "sample-l": sample, "dvae-train": dvae_train, "dvae-256": dvae_256, "clip-b32": clip_b32}
for w in A.works or list(RUN): RUN[w](w)

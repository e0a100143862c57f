"""The `m3r` command: its sub-commands and their help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from m3r.keys import keys_app

app = typer.Typer(
    name="m3r",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Photographs in, a metric point cloud and camera poses out.",
)
checkpoint_app = typer.Typer(no_args_is_help=True, help="Look at network weights.")
app.add_typer(checkpoint_app, name="checkpoint")
eval_app = typer.Typer(no_args_is_help=True, help="Measure the engine on public benchmarks.")
app.add_typer(eval_app, name="eval")
app.add_typer(keys_app, name="keys")

PhotoFolder = Annotated[Path, typer.Argument(help="A folder of photographs, or one photograph.", exists=True)]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Where the results go; made when missing.")]
OptionsText = Annotated[
    str,
    typer.Option(
        "--options", help='Options as JSON, for example \'{"scene_graph": "complete"}\'; `GET /v1/options` has them all.'
    ),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        help="A further artefact to make; may be repeated: scene.glb, mesh.ply, colmap.zip, colmap_text.zip, splatting.zip, "
        "transforms.json, gaussianobject.zip, instantsplat.zip, trajectory.txt, depth_png.zip, depth.npz, images.zip.",
    ),
]
CamerasFile = Annotated[
    Path | None, typer.Option(help="What is known of cameras and poses, as JSON (docs/priors.md).", exists=True)
]
MaskFolder = Annotated[
    Path | None, typer.Option(help="A folder of PNGs named like the photographs, white where pixels are used.", exists=True)
]
DepthFolder = Annotated[
    Path | None, typer.Option(help="A folder of depth maps: 16-bit PNG in millimetres, or .npy in metres.", exists=True)
]


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on. Without an API key only loopback is allowed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 8000,
    data: Annotated[Path, typer.Option(help="Folder for uploads, results and the queue's log.")] = Path("m3r-data"),
    workers: Annotated[int, typer.Option(help="Worker processes to start; 0 when they run elsewhere.", min=0)] = 1,
    checkpoint: Annotated[str | None, typer.Option(help="Weights: file, folder or hub id.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Write the URL into this file once the service answers.")] = None,
    localisation: Annotated[
        bool, typer.Option(help="Start a localisation worker too; it holds the weights a second time.")
    ] = True,
    nodeodm_port: Annotated[
        int | None, typer.Option(help="Serve NodeODM's protocol too, on this port (usually 3000), for PyODM, WebODM, CloudODM.")
    ] = None,
) -> None:
    """Start API, queue and worker on this machine with one command.

    The queue is an embedded Valkey server and the results lie in a folder, so nothing else need be installed. Every setting can
    also come from the environment (`M3R_REDIS_URL`, `M3R_STORE`, `M3R_LEASE_S` …); with `M3R_REDIS_URL` set, that server is used.

    Example: `m3r serve --port 8000`, then `curl -F images=@a.jpg -F images=@b.jpg http://127.0.0.1:8000/v1/reconstructions`.
    """
    from m3r.serve import ServePlan, run_service

    plan = ServePlan(
        host=host,
        port=port,
        data=data,
        workers=workers,
        checkpoint=checkpoint,
        ready_file=ready_file,
        localisation=localisation,
        nodeodm_port=nodeodm_port,
    )
    run_service(plan)


@app.command()
def worker(
    localisation: Annotated[bool, typer.Option("--localisation", help="Answer queries instead of taking jobs.")] = False,
) -> None:
    """Start one worker; it takes jobs from the queue named by `M3R_REDIS_URL` and stores results in `M3R_STORE`.

    Example: `M3R_REDIS_URL=redis://queue:6379/0 M3R_STORE=s3://results m3r worker`.
    """
    from m3r.serve import run_worker

    run_worker(localisation)


@app.command()
def reconstruct(
    photos: PhotoFolder,
    out: OutFolder = Path("m3r-output"),
    checkpoint: Annotated[str | None, typer.Option(help="Weights: file, folder or hub id; default: the packaged ones.")] = None,
    options: OptionsText = "{}",
    outputs: Outputs = None,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1.")] = "cpu",
    cameras: CamerasFile = None,
    masks: MaskFolder = None,
    depths: DepthFolder = None,
    refine: Annotated[str, typer.Option(help="Bundle adjustment in the end: auto, bundle (warns where not), none.")] = "auto",
) -> None:
    """Reconstruct a folder of photographs right here, without a server.

    Writes `scene.ply` (coloured cloud), `poses.json` (cameras) and `preview.png`, and what `--output` names.

    What is known beforehand helps: `--cameras`, `--masks`, `--depths`. What the photographs contradict is told as a warning.

    Example: `m3r reconstruct photos/ -o result/ --cameras cameras.json`.
    """
    from m3r.reconstruct import reconstruct_folder

    reconstruct_folder(photos, out, checkpoint, options, outputs, device, cameras, masks, depths, refine)


@app.command()
def submit(
    photos: PhotoFolder,
    url: Annotated[str, typer.Option(help="Where the service answers.")] = "http://127.0.0.1:8000",
    out: OutFolder = Path("m3r-output"),
    options: OptionsText = "{}",
    preset: Annotated[str, typer.Option(help="fast, balanced or accurate.")] = "balanced",
    outputs: Outputs = None,
    key: Annotated[str | None, typer.Option(envvar="M3R_KEY", help="API key, when the service asks for one.")] = None,
    resume: Annotated[str | None, typer.Option(help="The capture that was begun before; what it has is not sent again.")] = None,
    cameras: CamerasFile = None,
    masks: MaskFolder = None,
    depths: DepthFolder = None,
) -> None:
    """Send photographs to a service, watch the job, download the results and check their SHA-256.

    Example: `m3r submit photos/ --url http://127.0.0.1:8000 -o result/`.
    """
    from m3r.known_files import KnownFiles
    from m3r.submit import submit_folder

    submit_folder(photos, url, out, options, preset, outputs or [], key, resume, KnownFiles(cameras, masks, depths))


@app.command()
def demo(
    out: OutFolder = Path("demo-output"),
    photos: Annotated[Path, typer.Option(help="The photographs to send.")] = Path("examples/desk"),
) -> None:
    """Start the whole service, send it example photographs over HTTP, fetch the result and stop everything again."""
    from m3r.demo import run_demo

    run_demo(photos, out)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; examples/train has some.", exists=True)],
    out: OutFolder = Path("m3r-training"),
    textures: Annotated[
        Path | None, typer.Option(help="A folder or tar of photographs that synthetic scenes are textured with.", exists=True)
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help="Captures to train on, NAME=FOLDER; may be repeated.")] = None,
    finetune: Annotated[str | None, typer.Option(help="Weights to go on from: file, folder or hub id.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")] = "cpu",
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard files too (needs the tensorboard package).")] = False,
) -> None:
    """Train a network, or go on with the run in `out` where it was left.

    Several GPUs or processes: `torchrun --nproc-per-node 8 -m m3r train CONFIG …`.

    Example: `m3r train examples/train/m3r-preview.toml --textures photographs.tar -o run/`.
    """
    from m3r.train import train as run_training

    run_training(config, out, textures, data or [], finetune, device, tensorboard)


@app.command("convert-colmap")
def convert_colmap(
    model: Annotated[Path, typer.Argument(help="The model's folder: cameras, images, points3D as .bin or .txt.", exists=True)],
    images: Annotated[Path, typer.Option(help="The undistorted photographs, named as in the model.", exists=True)],
    depth: Annotated[Path, typer.Option(help="Depth maps: NAME.png, NAME.npy, or COLMAP's own NAME.geometric.bin.", exists=True)],
    out: OutFolder = Path("m3r-capture"),
    depth_scale: Annotated[float, typer.Option(help="Of the PNGs: their values times this are the model's unit.")] = 0.001,
    metric: Annotated[bool, typer.Option("--metric", help="The model's unit is the metre.")] = False,
) -> None:
    """Make a folder that `m3r train --data` takes from a COLMAP model with depth maps.

    Example: `m3r convert-colmap dense/sparse --images dense/images --depth dense/stereo/depth_maps -o capture/`.
    """
    from m3r.convert_colmap import convert

    convert(model, images, depth, out, depth_scale, metric)


@checkpoint_app.command()
def info(
    file: Annotated[Path, typer.Argument(help="A .pth file, a .safetensors file or a folder with config.json.", exists=True)],
) -> None:
    """Say what a checkpoint is (architecture, size, hash) without building the network or running anything inside it.

    Example: `m3r checkpoint info MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric.pth`.
    """
    from m3r.checkpoint import print_checkpoint

    print_checkpoint(file)


@eval_app.command()
def mapfree(
    root: Annotated[
        Path, typer.Argument(help="The benchmark's folder: ROOT/<split>/s00460/seq0, seq1, intrinsics.txt, poses.txt.")
    ],
    split: Annotated[str | None, typer.Option(help="Sub-folder: val or test; without it the scenes lie in ROOT itself.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the submission zip goes.")] = Path("submission.zip"),
    checkpoint: Annotated[str | None, typer.Option(help="Weights: file, folder or hub id; default: the packaged ones.")] = None,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1.")] = "cpu",
    submission: Annotated[Path | None, typer.Option(help="Score this zip instead of localising.", exists=True)] = None,
) -> None:
    """Localise the map-free benchmark (single-frame track), write the submission zip and print the table.

    Scores need known poses (train, val); for the test split the zip is what the benchmark's site takes.

    Example: `m3r eval mapfree mapfree/ --split val -o val.zip`.
    """
    from m3r.evaluate import evaluate_mapfree

    evaluate_mapfree(root, split, out, checkpoint, device, submission)


@eval_app.command()
def reconstruction(
    root: Annotated[Path, typer.Argument(help="A folder with cameras.json and photographs, or a folder of such.", exists=True)],
    checkpoint: Annotated[str | None, typer.Option(help="Weights: file, folder or hub id; default: the packaged ones.")] = None,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1.")] = "cpu",
    options: OptionsText = "{}",
    refine: Annotated[bool, typer.Option(help="Twice: without bundle adjustment and with it (needs pycolmap).")] = False,
    sift: Annotated[bool, typer.Option(help="Beside it SIFT and pycolmap on the same photographs.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the figures into this JSON file too.")] = None,
) -> None:
    """Reconstruct photographs with known cameras and print registered photos, rotation, translation and depth errors.

    Example: `m3r eval reconstruction scenes/ --refine --sift`.
    """
    from m3r.evaluate_checkpoint import evaluate_reconstruction

    evaluate_reconstruction(root, checkpoint, device, options, refine, sift, report)


@eval_app.command()
def synthetic(
    checkpoint: Annotated[str | None, typer.Option(help="Weights: file, folder or hub id; default: the packaged ones.")] = None,
    textures: Annotated[
        Path | None, typer.Option(help="The folder or tar that was trained with; its held-out part is used.", exists=True)
    ] = None,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1.")] = "cpu",
    pairs: Annotated[int, typer.Option(help="Pairs for each range of angles.", min=1)] = 64,
    size: Annotated[int | None, typer.Option(help="Image width, pixels; default: the checkpoint's.")] = None,
) -> None:
    """Measure matches, points and confidence on rendered scenes with textures that training does not see.

    Example: `m3r eval synthetic --textures photographs.tar`.
    """
    from m3r.evaluate_checkpoint import evaluate_synthetic

    evaluate_synthetic(checkpoint, textures, device, pairs, size)


def main() -> None:
    """Run the command line."""
    # Idle OpenMP threads that spin take the processor from queue, API and each other; read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()

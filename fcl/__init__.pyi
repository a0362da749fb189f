from fcl.checkpoints import load_model as load_model
from fcl.config import Config as Config
from fcl.learnaf import learnaf_stacks as learnaf_stacks
from fcl.losses import focal_consistency_loss as focal_consistency_loss
from fcl.losses import jeffreys as jeffreys
from fcl.losses import jensen_shannon as jensen_shannon
from fcl.losses import kl as kl
from fcl.losses import mean_standard_deviation as mean_standard_deviation
from fcl.losses import ordinal_loss as ordinal_loss
from fcl.losses import pairwise as pairwise
from fcl.metrics import evaluate as evaluate
from fcl.metrics import mae as mae
from fcl.metrics import msd_star as msd_star
from fcl.metrics import rmse as rmse
from fcl.metrics import total_variation as total_variation
from fcl.metrics import within as within
from fcl.models import build_model as build_model
from fcl.optics import FOCUS_DISTANCES_MM as FOCUS_DISTANCES_MM
from fcl.optics import blur_diameter as blur_diameter
from fcl.optics import dual_pixel_kernels as dual_pixel_kernels
from fcl.prediction import predict as predict
from fcl.simulator import simulate_stacks as simulate_stacks
from fcl.stacks import FocalStacks as FocalStacks
from fcl.training import train as train

__version__: str

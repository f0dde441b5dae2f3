"""Which family has an op, so that the registry imports no other one; made by docs/generate.py.

A line is the name of a module of `families` with keys of `FAMILIES`: ops, and NumPy functions that do the same as one.
"""

LINES = """
activations celu elu gelu hard_sigmoid leaky_relu log_softmax mish prelu relu selu sigmoid silu
activations softmax softplus softsign
arithmetic abs add add_n ceil clip div floor hypot maximum minimum mod mul neg numpy.absolute
arithmetic numpy.add numpy.ceil numpy.clip numpy.divide numpy.floor numpy.hypot numpy.maximum numpy.minimum
arithmetic numpy.multiply numpy.negative numpy.power numpy.reciprocal numpy.remainder numpy.round numpy.sign
arithmetic numpy.sqrt numpy.square numpy.subtract pow reciprocal round rsqrt sign sqrt square sub
attention embedding scaled_dot_product_attention
comparison equal greater greater_equal isfinite less less_equal logical_and logical_not logical_or
comparison not_equal numpy.equal numpy.greater numpy.greater_equal numpy.isfinite numpy.less numpy.less_equal
comparison numpy.logical_and numpy.logical_not numpy.logical_or numpy.not_equal numpy.where stop_gradient where
constants arange constant
contraction einsum
convolution conv1d conv2d conv_transpose2d
elementary arccos arccosh arcsin arcsinh arctan arctan2 arctanh cos cosh erf exp expm1 log log10
elementary log1p log2 numpy.arccos numpy.arccosh numpy.arcsin numpy.arcsinh numpy.arctan numpy.arctan2
elementary numpy.arctanh numpy.cos numpy.cosh numpy.exp numpy.expm1 numpy.log numpy.log10 numpy.log1p
elementary numpy.log2 numpy.sin numpy.sinh numpy.tan numpy.tanh sin sinh tan tanh
interpolation interp numpy.interp numpy.searchsorted searchsorted
linear cholesky cofactor det eye_like inv matmul numpy.cholesky numpy.det numpy.inv numpy.matmul
linear numpy.solve numpy.trace numpy.tril numpy.triu numpy.vecdot solve trace tril triu vecdot
loops call cond scan
losses binary_cross_entropy hinge huber kl_divergence mae mse negative_log_likelihood
losses softmax_cross_entropy
metrics accuracy confusion_matrix r2
normalization batch_norm dropout layer_norm rms_norm
opaque opaque_backward
padding numpy.pad pad unpad
patches fold unfold
pooling avg_pool2d global_avg_pool2d max_pool2d max_pool_with_indices
probability betaln digamma erfc erfcx faddeeva_imag faddeeva_real inverse_mills lgamma log_erfc
probability log_ndtr polygamma xlogy
random bernoulli normal random_key uniform
reductions all any argmax argmin cumprod cumsum linear_recurrence logsumexp max mean min norm
reductions numpy.all numpy.any numpy.argmax numpy.argmin numpy.cumprod numpy.cumsum numpy.max numpy.mean
reductions numpy.min numpy.prod numpy.std numpy.sum numpy.var prod std sum var
scattering scatter
segments scan_gradient
selection concat gather index_add numpy.concatenate numpy.split numpy.stack numpy.take
selection numpy.take_along_axis one_hot scatter_add slice slice_add split split_like stack take_along_axis
shaping broadcast_to cast expand_dims flatten flip numpy.broadcast_to numpy.expand_dims numpy.flip
shaping numpy.ones_like numpy.reshape numpy.shape numpy.size numpy.squeeze numpy.tile numpy.transpose
shaping numpy.zeros_like ones_like reshape shape size squeeze sum_to tile transpose untile zeros_like
sorting argsort sort topk
"""

FAMILIES = {
    key: f"graphengine.ops.families.{family}"
    for family, *keys in map(str.split, LINES.strip().splitlines())
    for key in keys
}
"""The module that registers each op, by its name and by `numpy.` and the name of its NumPy function."""

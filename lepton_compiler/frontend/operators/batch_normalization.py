"""BatchNormalization, for inference and for training graphs."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from lepton_compiler.frontend.conversion import Conversion, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.activation_functions import scalar
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.operators.staged_sums import staged_mean
from lepton_compiler.frontend.run_time_checks import require_per_channel


@converter("BatchNormalization")
def batch_normalization(conversion: Conversion) -> relax.Expr | Sequence[relax.Expr | None]:
    """``scale * (x - mean) / sqrt(variance + epsilon) + bias``, one value of each a channel."""
    epsilon = conversion.attribute("epsilon", 1e-5)
    if rank_of(conversion.tensor(0)) > 1:
        require_per_channel(conversion, range(1, 5))
    if conversion.attribute("training_mode", 0):
        return _training(conversion, epsilon)
    x = conversion.tensor(0)
    if rank_of(x) < 2 or dtype_of(x) != dtype_of(conversion.tensor(1)):
        mean, variance = conversion.tensor(3), conversion.tensor(4)
        return _normalized(conversion, x, mean, variance, epsilon)
    normalized = relax.op.nn.batch_norm(
        x, *(conversion.tensor(i) for i in range(1, 5)), axis=1, epsilon=epsilon, training=False
    )
    return relax.TupleGetItem(conversion.emit(normalized), 0)


def _training(conversion: Conversion, epsilon: float) -> list[relax.Expr | None]:
    """The batch's own mean and variance; outputs the running ones mixed with them."""
    x = conversion.tensor(0)
    axes = [axis for axis in range(rank_of(x)) if axis != 1]
    mean = conversion.emit(staged_mean(conversion, x, axes, keepdims=False))
    centered = relax.op.subtract(x, _per_channel(mean, rank_of(x)))
    variance = conversion.emit(staged_mean(conversion, relax.op.square(centered), axes, keepdims=False))
    momentum = conversion.attribute("momentum", 0.9)
    results: list[relax.Expr | None] = [_normalized(conversion, x, mean, variance, epsilon)]
    for batch, index in ((mean, 3), (variance, 4)):
        running = conversion.tensor(index)
        kept = relax.op.multiply(running, scalar(momentum, running))
        results.append(relax.op.add(kept, relax.op.multiply(batch, scalar(1 - momentum, running))))
    return results


def _normalized(
    conversion: Conversion, x: relax.Expr, mean: relax.Expr, variance: relax.Expr, epsilon: float
) -> relax.Expr:
    rank = rank_of(x)
    deviation = relax.op.sqrt(relax.op.add(variance, scalar(epsilon, variance)))
    factor = _per_channel(conversion.emit(relax.op.divide(conversion.tensor(1), deviation)), rank)
    centered = relax.op.subtract(_as(x, mean), _per_channel(mean, rank))
    result = relax.op.add(relax.op.multiply(centered, factor), _per_channel(conversion.tensor(2), rank))
    return relax.op.astype(result, dtype_of(x)) if dtype_of(mean) != dtype_of(x) else result


def _as(x: relax.Expr, like: relax.Expr) -> relax.Expr:
    return x if dtype_of(x) == dtype_of(like) else relax.op.astype(x, dtype_of(like))


def _per_channel(vector: relax.Expr, rank: int) -> relax.Expr:
    return relax.op.reshape(vector, [1, *shape_of(vector), *[1] * (rank - 2)]) if rank > 1 else vector

from samples.table import Samples

ROWS = [({"value": 1.5}, ()), ({"value": 2.0, "dtype": "float32"}, ()), ({"value": "NaN"}, ())]

TABLE = {"constant": Samples(ROWS, lambda value, dtype="float64": float(value))}

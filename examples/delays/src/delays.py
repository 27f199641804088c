"""How late do flights leave? One row a carrier, and a picture."""

from airlines import full_names
from matplotlib.figure import Figure

from nuwrap_runtime import handler

NAMES = {}


def setup(context, carriers):
    """Runs once, before the first call."""
    NAMES.update(full_names(carriers))
    context.logger.info_with("names are there", carriers=len(NAMES))


@handler(outputs=["carriers", "plot", "flights", "worst", "late_share"])
def report(run, table, threshold: float = 0.25):
    """Share of flights that left more than `threshold` hours late, by carrier."""
    flights = table.as_df().dropna(subset=["dep_delay"])
    flights["late"] = flights["dep_delay"] > threshold * 60
    carriers = (
        flights.groupby("carrier")
        .agg(flights=("late", "size"), late_share=("late", "mean"), mean_delay=("dep_delay", "mean"))
        .sort_values("late_share", ascending=False)
        .reset_index()
    )
    carriers.insert(1, "name", carriers["carrier"].map(NAMES).fillna(carriers["carrier"]))
    run.log_metric("late_share", float(flights["late"].mean()))
    print(carriers.to_string(index=False))
    return carriers, draw(carriers, threshold), len(flights), carriers["name"][0], float(flights["late"].mean())


def draw(carriers, threshold):
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.barh(carriers["name"][::-1], 100 * carriers["late_share"][::-1])
    axes.set_xlabel(f"departures more than {threshold:g} h late, %")
    axes.set_title("New York JFK, January 2013")
    return figure

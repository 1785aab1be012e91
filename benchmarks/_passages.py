"""Sentences written for this benchmark: some to match on, and pairs that say the same to judge by."""

from __future__ import annotations

__all__ = ["PAIRS", "SENTENCES"]

SENTENCES = """
The harbour was quiet except for the ropes that creaked against the wooden piers.
A late frost ruined most of the apricot blossom in the valley this spring.
She tuned the second string twice before the audience had found their seats.
Engineers drained the canal to repair a lock that had leaked for three years.
The recipe asks for two eggs, but a ripe banana will bind the dough as well.
Nobody could explain why the old clock gained four minutes every Sunday.
Rainwater collected on the flat roof until the ceiling of the library gave way.
The committee postponed its vote because two members had not read the report.
Wolves returned to the northern forests after an absence of almost a century.
He learned to sharpen chisels from his grandmother, who carved spoons for a living.
The train from the coast arrived an hour late and left without the dining car.
Small satellites now measure how much heat escapes from individual buildings.
A translator must decide whether a joke should be kept, replaced or dropped.
The museum keeps its largest whale skeleton in a hall built around the bones.
Most of the bakery's customers come before seven and buy the same loaf each day.
During the eclipse the birds fell silent and the street lamps switched themselves on.
The novel begins with a map of a town that its author never visited.
Volunteers counted the bats as they left the mine at dusk.
A cheap sensor in the soil tells the farmer when the lettuce needs water.
The bridge sways a little in strong wind, as its designer intended.
Her first patent described a valve that closes without any spring.
The choir rehearses in the gymnasium because the church is too cold in winter.
Glass blown on the island was once carried over the Alps in boxes of sand.
Students who explained the lesson to each other remembered it better a month later.
The referee stopped the game when fog hid one goal from the other.
Old newspapers show that the village had three cinemas before the war.
The vaccine must be stored in the dark and used within six hours of opening.
A blacksmith, two bakers and a piano teacher share the courtyard behind the station.
The river changed its bed so often that the border had to be drawn anew.
Parents complained about the timetable until the school asked them to write a better one.
The software counts passing bicycles but mistakes some wheelchairs for them.
Lava reached the road on Tuesday and the first houses on Thursday night.
He keeps bees on the roof of the hotel and sells the honey at the reception.
The court ruled that the lake belongs to everyone who lives on its shore.
Dust from the desert coloured the snow in the mountains orange.
A retired pilot repairs typewriters and refuses to be paid for it.
The orchestra plays without a conductor and votes on every tempo.
Prices of olive oil doubled after the second dry summer in a row.
The island has no cars, and its doctor makes her rounds on horseback.
Divers found the anchor lying exactly where the old chart had put it.
""".strip().splitlines()

PAIRS = [
    (
        "The mayor announced that buses will be free for everyone from next year.",
        "From next year on nobody will have to pay for public buses, the head of the city said.",
    ),
    (
        "A storm knocked down power lines and left thousands of homes without electricity.",
        "Thousands of households lost electric power after strong winds damaged the lines.",
    ),
    (
        "Scientists discovered a new species of frog in the rain forest.",
        "An unknown kind of frog was found by researchers in the tropical forest.",
    ),
    (
        "The chef adds a pinch of salt to the chocolate to bring out its sweetness.",
        "A little salt makes the cook's chocolate taste sweeter.",
    ),
    (
        "The team lost the final after a penalty in the last minute.",
        "A late penalty cost the players the championship match.",
    ),
    (
        "Interest rates were raised for the third time to slow inflation.",
        "To fight rising prices the central bank increased its rates once more.",
    ),
    (
        "My laptop crashes whenever I open more than ten browser tabs.",
        "With over ten pages open in the browser the computer always freezes.",
    ),
    (
        "The telescope took the sharpest image of the distant galaxy so far.",
        "Astronomers have obtained the clearest picture yet of a faraway galaxy.",
    ),
    (
        "She has played the violin since she was five years old.",
        "The musician started with the violin at the age of five.",
    ),
    (
        "The patient recovered quickly after surgery on his knee.",
        "After the operation on the knee the man was soon well again.",
    ),
    (
        "Children built a castle of sand before the tide came in.",
        "Kids made a sandcastle on the beach ahead of the rising water.",
    ),
    (
        "The old factory was turned into apartments and a small theatre.",
        "Flats and a little playhouse now occupy the former plant.",
    ),
]

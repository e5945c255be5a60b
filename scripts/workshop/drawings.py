"""The ten bundled sample images, one of each class of CIFAR-10, as drawing instructions."""

from __future__ import annotations

from collections.abc import Callable

from workshop.rasteriser import Canvas, Colour, Point

BLACK: Colour = (22.0, 22.0, 26.0)
WHITE: Colour = (240.0, 241.0, 243.0)


def airplane() -> Canvas:
    """Draw an airliner in a blue sky, seen from the side."""
    c = Canvas(1)
    c.fill(c.everywhere(), (92, 150, 214), (184, 212, 236))
    c.texture(c.everywhere(), 9, 12, 6)
    c.fill(c.polygon([(13, 15), (20, 15), (12, 7), (9.5, 7)]), (176, 182, 190))
    c.fill(c.polygon([(3.5, 14.5), (7, 15), (4, 8), (1.8, 8)]), (196, 60, 52), (150, 40, 40))
    body = c.stroke([(4, 15.5), (10, 16), (26, 16.6)], 2.6, 4.6) | c.ellipse(
        (26.5, 16.6), (3.6, 2.2)
    )
    c.fill(body, WHITE, (140, 148, 160))
    c.fill(c.polygon([(14, 17), (20.5, 17), (11, 25), (8.5, 25)]), (150, 156, 166), (96, 102, 112))
    c.fill(c.ellipse((15.2, 20.6), (2.2, 1.2)), (84, 88, 98))
    c.fill(c.polygon([(3, 16), (7, 16), (3, 19), (1.5, 19)]), (140, 146, 156))
    for i in range(9):
        c.fill(c.ellipse((9.5 + 1.7 * i, 15.7), (0.45, 0.5)), (60, 70, 92))
    c.fill(c.polygon([(27, 15.2), (29, 15.9), (27, 16.2)]), (48, 58, 80))
    return c


def automobile() -> Canvas:
    """Draw a red car on a road, seen from the side."""
    c = Canvas(2)
    c.fill(c.everywhere(), (206, 216, 226), (182, 192, 196))
    c.fill(c.below(13), (112, 132, 92), (96, 112, 80))
    c.texture(c.below(13), 14, 3, 2)
    c.fill(c.below(21), (132, 132, 134), (104, 104, 108))
    c.texture(c.below(21), 7, 2, 1)
    c.fill(c.ellipse((16, 26), (14, 1.6)), (52, 52, 56))
    c.fill(c.polygon([(7, 16), (11, 9.6), (20, 9.4), (25.5, 16)]), (176, 22, 28))
    c.fill(
        c.polygon([(8.8, 15.6), (11.8, 10.8), (15, 10.7), (15, 15.6)]),
        (150, 178, 196),
        (52, 66, 80),
    )
    c.fill(
        c.polygon([(16, 15.6), (16, 10.7), (19.6, 10.7), (23.4, 15.6)]),
        (140, 168, 188),
        (46, 60, 74),
    )
    body = c.polygon([(2, 17.6), (4, 15.8), (25, 15.6), (29.6, 17.6), (30.2, 24), (2, 24)])
    c.fill(body, (222, 44, 44), (128, 12, 20))
    c.light(body, (14, 16.5), 12, 40)
    for x in (8.2, 23.8):
        c.fill(c.ellipse((x, 23.6), (3.5, 3.5)), (40, 6, 10))
        c.fill(c.ellipse((x, 24), (3.0, 3.0)), BLACK)
        c.fill(c.ellipse((x, 24), (1.6, 1.6)), (196, 198, 204), (120, 122, 128))
    c.fill(c.ellipse((29.2, 18.8), (0.9, 0.8)), (250, 244, 206))
    return c


def bird() -> Canvas:
    """Draw a robin on a branch."""
    c = Canvas(3)
    c.fill(c.everywhere(), (120, 150, 96), (82, 112, 66))
    c.texture(c.everywhere(), 12, 10, 10)
    c.fill(c.stroke([(0, 26), (14, 25), (32, 22.5)], 2.4, 1.8), (120, 94, 66), (72, 56, 40))
    c.fill(c.stroke([(10, 18), (2.6, 22.5)], 3.4, 1.8), (71, 63, 53), (52, 46, 38))
    c.fill(c.ellipse((15.5, 16.5), (7.6, 5.4), (1, -0.45)), (112, 98, 80), (206, 110, 52))
    c.fill(c.ellipse((20, 19), (3.6, 4), (1, -0.5)), (196, 104, 49), (206, 110, 52))
    c.fill(c.ellipse((12.6, 16.8), (6, 3), (1, -0.35)), (86, 76, 64), (58, 51, 43))
    c.fill(c.ellipse((21.6, 11), (3.9, 3.7)), (200, 104, 50), (255, 135, 65))
    c.fill(c.polygon([(25, 10.2), (29, 11.4), (25, 12.4)]), (52, 46, 42))
    c.fill(c.ellipse((22.8, 10.3), (0.75, 0.75)), BLACK)
    c.fill(c.stroke([(16, 21), (16.4, 24.6)], 0.7), (70, 52, 40))
    c.fill(c.stroke([(18.4, 20.8), (18.8, 24.2)], 0.7), (70, 52, 40))
    return c


def cat() -> Canvas:
    """Draw the face of a dark tabby cat."""
    c = Canvas(4)
    fur, stripe, light = (92.0, 86.0, 82.0), (44.0, 40.0, 38.0), (101.0, 95.0, 90.0)
    c.fill(c.everywhere(), (214, 204, 188), (180, 168, 150))
    c.texture(c.everywhere(), 12, 9, 9)
    c.fill(c.ellipse((16, 33), (13.5, 10)), (83, 77, 74), (64, 60, 57))
    for side in (-1, 1):
        outer = [(16 + 10 * side, 2.5), (16 + 2.5 * side, 8.0), (16 + 10.6 * side, 14.0)]
        inner = [(16 + 9.1 * side, 5.0), (16 + 4.6 * side, 8.6), (16 + 9.4 * side, 12.0)]
        c.fill(c.polygon(outer), (72, 67, 64))
        c.fill(c.polygon(inner), (196, 150, 140))
    c.fill(c.ellipse((16, 16.5), (11.4, 10)), fur, light)
    for x in (12.6, 16, 19.4):
        c.fill(c.stroke([(x, 7), (16 + (x - 16) * 0.7, 11)], 1.2, 0.5), stripe)
    for side in (-1, 1):
        c.fill(c.stroke([(16 + 11 * side, 16), (16 + 7.6 * side, 17)], 1.1, 0.5), stripe)
        c.fill(c.stroke([(16 + 10.6 * side, 19.4), (16 + 7 * side, 19)], 1.1, 0.5), stripe)
        c.fill(c.ellipse((16 + 4.6 * side, 14.6), (2.3, 2.0)), (186, 190, 92), (140, 143, 69))
        c.fill(c.ellipse((16 + 4.6 * side, 14.6), (0.8, 1.9)), BLACK)
        c.fill(c.ellipse((16 + 2.2 * side, 21.4), (3.2, 2.6)), (218, 212, 204), (190, 184, 176))
    c.fill(c.polygon([(14.4, 18.2), (17.6, 18.2), (16, 20.2)]), (206, 130, 126))
    c.fill(c.stroke([(16, 20), (16, 22)], 0.6), (80, 60, 58))
    c.texture(c.ellipse((16, 17), (11.4, 11)), 10, 1.5, 2.5)
    return c


def deer() -> Canvas:
    """Draw a deer with antlers at the edge of a wood."""
    c = Canvas(5)
    c.fill(c.everywhere(), (74, 92, 56), (96, 116, 66))
    c.texture(c.everywhere(), 30, 4, 9)
    c.fill(c.below(23), (134, 138, 78), (104, 108, 60))
    c.texture(c.below(23), 18, 2, 2)
    coat: Colour = (164, 112, 66)
    for x, y in ((9, 29.5), (11.6, 28.8), (19, 29.5), (21.2, 28.8)):
        c.fill(c.stroke([(x, 19), (x - 0.3, y)], 2.0, 1.0), (134, 88, 52), (84, 56, 36))
    c.fill(c.ellipse((14.6, 17.6), (8, 4.2), (1, -0.06)), coat, (140, 96, 58))
    c.fill(c.ellipse((7, 17.6), (1.4, 2)), (226, 214, 196))
    c.fill(c.stroke([(20, 16.6), (24, 9.6)], 5.4, 3.0), coat, (140, 96, 58))
    c.fill(c.ellipse((25.4, 9), (3.2, 1.8), (1, 0.35)), (160, 108, 66), (128, 86, 54))
    c.fill(c.ellipse((22.2, 7.4), (1.8, 0.8), (1, 0.4)), (150, 104, 70))
    c.fill(c.ellipse((28, 10.2), (0.7, 0.6)), BLACK)
    for points in (
        [(23.6, 7.6), (21.4, 4), (21.8, 0.8)],
        [(22, 4.4), (19.4, 2)],
        [(24.6, 7.4), (26, 4), (25.4, 0.8)],
        [(25.8, 4.2), (28.6, 2)],
    ):
        c.fill(c.stroke(points, 0.9, 0.6), (196, 176, 142))
    return c


def dog() -> Canvas:
    """Draw the face of a brown dog with hanging ears."""
    c = Canvas(6)
    c.fill(c.everywhere(), (150, 168, 130), (124, 142, 104))
    c.texture(c.everywhere(), 14, 7, 7)
    c.fill(c.ellipse((16, 32), (11, 9)), (176, 128, 80), (150, 104, 62))
    for side in (-1, 1):
        c.fill(
            c.ellipse((16 + 9.4 * side, 14), (3.4, 7.4), (1, -0.2 * side)),
            (112, 72, 42),
            (84, 52, 30),
        )
    c.fill(c.ellipse((16, 14), (8.8, 9.4)), (190, 140, 88), (170, 122, 74))
    c.fill(c.ellipse((16, 20.4), (5.2, 4.8)), (228, 204, 170), (206, 180, 146))
    c.fill(c.ellipse((16, 8), (1.8, 6)), (222, 196, 160))
    for side in (-1, 1):
        c.fill(c.ellipse((16 + 4 * side, 12.8), (1.3, 1.3)), BLACK)
    c.fill(c.ellipse((16, 18.2), (2.3, 1.6)), BLACK)
    c.fill(c.stroke([(16, 19.5), (16, 22), (13.4, 23.2)], 0.6), (70, 44, 34))
    c.fill(c.stroke([(16, 22), (18.6, 23.2)], 0.6), (70, 44, 34))
    return c


def frog() -> Canvas:
    """Draw a green frog on brown ground."""
    c = Canvas(7)
    c.fill(c.everywhere(), (124, 104, 76), (98, 80, 58))
    c.texture(c.everywhere(), 30, 3, 3)
    c.fill(c.ellipse((16, 26), (13.5, 3)), (54, 44, 34))
    for side in (-1, 1):
        c.fill(
            c.ellipse((16 + 9 * side, 21.6), (5, 3.6), (1, 0.5 * side)), (92, 130, 50), (62, 92, 34)
        )
        c.fill(c.stroke([(16 + 6 * side, 22), (16 + 9 * side, 27)], 2.2, 1.8), (84, 120, 46))
    c.fill(c.ellipse((16, 19), (9, 7.4)), (118, 160, 62), (86, 122, 46))
    c.fill(c.ellipse((16, 24), (6, 2.6)), (196, 198, 136), (164, 168, 110))
    c.fill(c.ellipse((16, 13.6), (7.6, 5)), (130, 172, 70), (106, 146, 56))
    for side in (-1, 1):
        c.fill(c.ellipse((16 + 5 * side, 9.8), (2.5, 2.4)), (118, 158, 62))
        c.fill(c.ellipse((16 + 5.2 * side, 9.6), (1.6, 1.6)), (212, 176, 62))
        c.fill(c.ellipse((16 + 5.2 * side, 9.6), (0.9, 1.0)), BLACK)
    c.fill(c.stroke([(10, 15.6), (16, 17), (22, 15.6)], 0.7), (58, 82, 32))
    c.texture(c.ellipse((16, 17), (9, 9)), 16, 2, 2)
    return c


def horse() -> Canvas:
    """Draw a brown horse in a meadow, seen from the side."""
    c = Canvas(8)
    c.fill(c.everywhere(), (188, 208, 226), (206, 214, 214))
    c.fill(c.below(12), (96, 120, 70), (88, 112, 60))
    c.texture(c.below(12), 16, 4, 3)
    c.fill(c.below(20), (124, 152, 72), (98, 128, 54))
    c.texture(c.below(20), 14, 2, 2)
    dark: Colour = (58, 34, 22)
    c.fill(c.stroke([(5.6, 14), (3.6, 18), (4.2, 23)], 2.2, 1.2), dark)
    for points in (
        [(8, 18), (7, 24), (7.4, 29)],
        [(11, 18), (11.2, 24), (10.4, 29)],
        [(19, 18), (18.6, 24), (19, 29)],
        [(21.4, 18), (22.2, 24), (21.6, 29)],
    ):
        c.fill(c.stroke(points, 3.2, 1.3), (112, 64, 36), (54, 32, 22))
    c.fill(c.ellipse((14, 16.4), (8.6, 4.6)), (150, 88, 48), (96, 54, 32))
    c.fill(c.stroke([(20, 15), (24.6, 7.4)], 6.4, 3.8), (146, 86, 48), (112, 64, 38))
    c.fill(c.stroke([(24.4, 7), (29, 11)], 3.6, 2.4), (142, 82, 46), (104, 60, 36))
    c.fill(c.stroke([(18.4, 13), (21.6, 8), (23.4, 5)], 1.8), dark)
    c.fill(c.polygon([(23.4, 6), (23.6, 2.8), (25, 5.6)]), (120, 70, 40))
    c.fill(c.ellipse((26, 7.8), (0.5, 0.5)), BLACK)
    return c


def ship() -> Canvas:
    """Draw a cargo ship at sea."""
    c = Canvas(9)
    c.fill(c.everywhere(), (150, 190, 226), (204, 222, 236))
    c.texture(c.everywhere(), 8, 12, 5)
    c.fill(c.below(20), (62, 104, 146), (34, 66, 104))
    c.texture(c.below(20), 16, 5, 1.2)
    c.fill(c.polygon([(4.5, 9), (10.5, 9), (10.5, 17), (4.5, 17)]), WHITE, (206, 210, 214))
    c.fill(c.polygon([(5.6, 5.6), (8.6, 5.6), (8.6, 9), (5.6, 9)]), (200, 60, 44))
    for x, colour in ((12, (190, 86, 52)), (16, (74, 118, 88)), (20, (200, 160, 74))):
        c.fill(c.polygon([(x, 13), (x + 3.6, 13), (x + 3.6, 17), (x, 17)]), colour)
    c.fill(c.stroke([(26, 17), (26, 9.6)], 0.6), (90, 92, 98))
    hull: list[Point] = [(2, 16.4), (30.4, 15.6), (27.6, 22.6), (3.6, 22.6)]
    c.fill(c.polygon(hull), (66, 70, 82), (34, 36, 46))
    c.fill(c.polygon([(3.4, 21), (28.3, 21), (27.6, 22.6), (3.6, 22.6)]), (150, 46, 40))
    for porthole in (5.8, 7.8, 9.6):
        c.fill(c.ellipse((porthole, 11), (0.5, 0.5)), (60, 70, 90))
    c.fill(c.stroke([(2, 23), (29, 23)], 0.8), (206, 220, 230))
    return c


def truck() -> Canvas:
    """Draw a lorry with a white box on a road."""
    c = Canvas(10)
    c.fill(c.everywhere(), (190, 208, 226), (216, 222, 224))
    c.fill(c.below(15), (104, 122, 88), (96, 110, 80))
    c.texture(c.below(15), 14, 3, 2)
    c.fill(c.below(22), (128, 128, 130), (100, 100, 104))
    c.texture(c.below(22), 7, 2, 1)
    c.fill(c.ellipse((16, 27), (14.5, 1.4)), (50, 50, 54))
    c.fill(
        c.polygon([(1.6, 5.6), (20.4, 5.6), (20.4, 21.6), (1.6, 21.6)]),
        (238, 239, 240),
        (196, 198, 202),
    )
    for x in (6.0, 11.0, 16.0):
        c.fill(c.stroke([(x, 6), (x, 21.4)], 0.4), (176, 178, 184))
    c.fill(
        c.polygon([(21, 10), (26.6, 10), (29.8, 16), (30.2, 23.6), (21, 23.6)]),
        (44, 92, 178),
        (24, 54, 118),
    )
    c.fill(
        c.polygon([(22.4, 11.4), (26, 11.4), (28.4, 16), (22.4, 16)]), (158, 186, 204), (56, 72, 88)
    )
    c.fill(c.polygon([(1.6, 21.6), (21, 21.6), (21, 23.8), (1.6, 23.8)]), (52, 54, 60))
    for x in (6.0, 11.6, 25.4):
        c.fill(c.ellipse((x, 24.4), (2.8, 2.8)), BLACK)
        c.fill(c.ellipse((x, 24.4), (1.3, 1.3)), (178, 180, 186))
    c.fill(c.ellipse((29.8, 20.6), (0.7, 0.8)), (250, 240, 190))
    return c


DRAWINGS: dict[str, Callable[[], Canvas]] = {
    drawing.__name__: drawing
    for drawing in (airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck)
}
"""Class name and drawing, in the order of the classes."""

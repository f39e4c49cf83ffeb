import time


def waits():
    time.sleep(0.01)


while True:
    waits()

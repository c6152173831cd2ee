import type { Beat } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Store } from '#store/store.ts'

/** Frames whose beats wait for the store. */
const WAITING_MAX = 100_000

/** Is told what became of a frame of beats. */
export interface BeatListener {
  onBeatTaken(n: number): void
  onBeatFailed(n: number, error: unknown): void
}

/** Gathers the beats that all sockets brought in one turn of the event loop into one call of the store. */
export class BeatBatcher {
  readonly #store: Store
  #beats: Beat[] = []
  #frames: { readonly listener: BeatListener; readonly n: number }[] = []
  #waiting = 0

  constructor(store: Store) {
    this.#store = store
  }

  add(listener: BeatListener, n: number, beats: readonly Beat[]): void {
    if (this.#waiting >= WAITING_MAX) {
      listener.onBeatFailed(
        n,
        new S2Error('unavailable', 'more beats come than the bridge can take', { retryAfterS: 1 }),
      )
      return
    }
    this.#waiting += 1
    if (this.#frames.push({ listener, n }) === 1) setImmediate(this.#flush)
    for (const beat of beats) this.#beats.push(beat)
  }

  readonly #flush = (): void => {
    const frames = this.#frames
    const beats = this.#beats
    this.#frames = []
    this.#beats = []
    this.#store.beat(beats).then(
      () => {
        this.#waiting -= frames.length
        for (const { listener, n } of frames) listener.onBeatTaken(n)
      },
      (error) => {
        this.#waiting -= frames.length
        for (const { listener, n } of frames) listener.onBeatFailed(n, error)
      },
    )
  }
}

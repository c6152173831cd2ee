import type { Beat } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Store } from '#store/store.ts'

/** Frames whose beats wait for the store. */
const WAITING_MAX = 100_000

/** Whoever wants to know what became of a beat frame. */
export interface BeatListener {
  onBeatTaken(n: number): void
  onBeatFailed(n: number, error: unknown): void
}

/** Gathers the beats that all sockets brought in one turn of the event loop, so that the store is asked once for them. */
export class BeatBatcher {
  readonly #store: Store
  #beats: Beat[] = []
  #frames: { readonly beater: BeatListener; readonly n: number }[] = []
  #waiting = 0

  constructor(store: Store) {
    this.#store = store
  }

  add(beater: BeatListener, n: number, beats: readonly Beat[]): void {
    if (this.#waiting >= WAITING_MAX) {
      beater.onBeatFailed(n, new S2Error('unavailable', 'more beats come than can be taken in', { retryAfterS: 1 }))
      return
    }
    this.#waiting += 1
    if (this.#frames.push({ beater, n }) === 1) setImmediate(this.#flush)
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
        for (const { beater, n } of frames) beater.onBeatTaken(n)
      },
      (error) => {
        this.#waiting -= frames.length
        for (const { beater, n } of frames) beater.onBeatFailed(n, error)
      },
    )
  }
}

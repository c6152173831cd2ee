import type { Beat } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import { isSpokenFor } from '#fleet/speakers.ts'
import type { Store } from '#store/store.ts'

/** Frames whose beats wait for the store. */
const WAITING_MAX = 100_000

/** Is told what became of a frame of beats. */
export interface BeatListener {
  onBeatTaken(n: number): void
  onBeatFailed(n: number, error: unknown): void
}

interface BeatFrame {
  readonly listener: BeatListener
  readonly n: number
  readonly beats: readonly Beat[]
}

/** Gathers the beats that all sockets brought in one turn of the event loop into one call of the store. */
export class BeatBatcher {
  readonly #store: Pick<Store, 'beat'>
  #frames: BeatFrame[] = []
  #waiting = 0

  constructor(store: Pick<Store, 'beat'>) {
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
    if (this.#frames.push({ listener, n, beats }) === 1) setImmediate(this.#flush)
  }

  readonly #flush = (): void => {
    const frames = this.#frames
    this.#frames = []
    this.#send(frames, (error) => {
      // The store has taken the beats of all others, but does not say whose host was refused: each frame is asked for by itself.
      const isOneRefused = isSpokenFor(error) && frames.length > 1
      for (const frame of frames) {
        if (isOneRefused) this.#send([frame], (own) => this.#fail(frame, own))
        else this.#fail(frame, error)
      }
    })
  }

  #send(frames: readonly BeatFrame[], onError: (error: unknown) => void): void {
    this.#store.beat(frames.flatMap(({ beats }) => beats)).then(() => {
      this.#waiting -= frames.length
      for (const { listener, n } of frames) listener.onBeatTaken(n)
    }, onError)
  }

  #fail({ listener, n }: BeatFrame, error: unknown): void {
    this.#waiting -= 1
    listener.onBeatFailed(n, error)
  }
}

import type { ObservedBeats } from '#fleet/beat.ts'
import { detectPause, type ObserverPause } from '#fleet/observer-pause.ts'
import type { Moment } from '#runtime/clock.ts'
import type { WatchConfig } from './config.ts'

/** What a read of the beats showed of the feed itself. */
export interface FeedReading {
  /** Why the watchdog did not see what came since the last read; null where it saw everything. */
  readonly pause: ObserverPause | null
  /** Beats may have been missed: silence proves nothing before a full grace has passed. */
  readonly needsGrace: boolean
  /** Whether the beats are news, only the past (they prove nothing about now), or to be read again from the start. */
  readonly beats: 'news' | 'past' | 'discarded'
  /** This is the first read, or beats are not collected any more, or are collected again. */
  readonly isChanged: boolean
}

/** Beats that are read in one go, about: a few milliseconds in which no verdict can be passed. */
const BEATS_PER_READ = 500
/** A large fleet's beats are read this often at most, milliseconds. */
const READ_AGAIN_MS_MIN = 25
/** The rate of beats is judged by the last so many milliseconds: they come in groups. */
const RATE_WINDOW_MS = 1_000

/**
 * The stream of beats as this watchdog reads it: how far it has read, whether it was itself paused in between, and whether
 * the bridge collects beats at all. It knows nothing of agents.
 */
export class BeatReadingPosition {
  readonly #config: Pick<WatchConfig, 'lateAfterMs' | 'watchMs'>
  #cursor = 0
  #startsOver = true
  #collectionTick: string | null = null
  #tickChangedAt = 0
  #beatsPerMs = 0
  #readAt: Moment | null = null
  #plannedWaitMs = 0
  #graceAt = Number.NEGATIVE_INFINITY
  #isBlind = false
  #collectionSeenAt = Number.NEGATIVE_INFINITY

  constructor(config: Pick<WatchConfig, 'lateAfterMs' | 'watchMs'>) {
    this.#config = config
  }

  get cursor(): number {
    return this.#cursor
  }

  /** When the beats were last read; null before the first read. */
  get readAt(): Moment | null {
    return this.#readAt
  }

  /** Nobody collects beats: no agent may be judged by them. */
  get isBlind(): boolean {
    return this.#isBlind
  }

  /** When beats were last seen to be collected; -Infinity where that was not since the watchdog began. */
  get collectionSeenAt(): number {
    return this.#collectionSeenAt
  }

  /** When beats are to be read again, milliseconds: the more of them come, the sooner. */
  get readAgainMs(): number {
    return Math.min(this.#config.watchMs, Math.max(READ_AGAIN_MS_MIN, BEATS_PER_READ / this.#beatsPerMs))
  }

  /** Says how long the watchdog means to wait before the next read: what is longer was a pause. */
  plan(waitMs: number): void {
    this.#plannedWaitMs = waitMs
  }

  /** Takes in what a read answered that was asked at `before` and answered at `after`. */
  take(read: ObservedBeats, before: Moment, after: Moment): FeedReading {
    const [wasBlind, wasSeen, lastRead] = [this.#isBlind, this.#isCollectionSeen, this.#readAt]
    const pause = lastRead === null ? null : this.#pauseSince(lastRead, after)
    if (lastRead !== null) this.#noteRate(read.pulses.length, before.now - lastRead.now)
    const beats = this.#advance(read.cursor)
    this.#watchCollection(read.tick, before.now, pause)
    const needsGrace = pause !== null || (wasBlind && !this.#isBlind)
    if (needsGrace || lastRead === null) this.#graceAt = before.now
    this.#readAt = before
    const isChanged = lastRead === null || wasBlind !== this.#isBlind || wasSeen !== this.#isCollectionSeen
    return { pause, needsGrace, beats, isChanged }
  }

  /** Whether what it thinks of all agents together rests on what it saw, and not on a grace: the silent would be late again by now. */
  knowsAll(at: number): boolean {
    return !this.#isBlind && !this.isDoubtful(at) && at - this.#graceAt > this.#config.lateAfterMs
  }

  /** Beats that nobody collects are missed by all agents at once: until the cause is known, no mass silence is reported. */
  isDoubtful(at: number): boolean {
    return at - this.#tickChangedAt > this.#config.lateAfterMs / 3
  }

  #pauseSince(lastRead: Moment, after: Moment): ObserverPause | null {
    const gap = {
      expectedMs: this.#plannedWaitMs,
      monotonicMs: after.now - lastRead.now,
      wallMs: after.wall - lastRead.wall,
    }
    return detectPause(gap, this.#config.lateAfterMs)
  }

  #noteRate(beats: number, ms: number): void {
    const weight = Math.min(1, ms / RATE_WINDOW_MS)
    this.#beatsPerMs += weight * (beats / Math.max(1, ms) - this.#beatsPerMs)
  }

  /** What was there before the watchdog came proves nothing; nor does another database, whose cursor goes back. */
  #advance(cursor: number): FeedReading['beats'] {
    const isFirst = this.#startsOver
    this.#startsOver = cursor < this.#cursor
    this.#cursor = this.#startsOver ? 0 : cursor
    if (this.#startsOver) return 'discarded'
    return isFirst ? 'past' : 'news'
  }

  get #isCollectionSeen(): boolean {
    return this.#collectionSeenAt > Number.NEGATIVE_INFINITY
  }

  #watchCollection(tick: string, now: number, pause: ObserverPause | null): void {
    if (tick !== this.#collectionTick) {
      if (this.#collectionTick !== null) this.#collectionSeenAt = now
      this.#collectionTick = tick
      this.#tickChangedAt = now
      this.#isBlind = false
    } else if (pause !== null) {
      this.#tickChangedAt = now
    } else if (now - this.#tickChangedAt > this.#config.lateAfterMs) {
      this.#isBlind = true
    }
  }
}

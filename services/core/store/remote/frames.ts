import type { Static, TSchema } from 'typebox'
import * as Type from 'typebox'
import { CODES } from '#fleet/errors.ts'
import { checkOf } from './schema-check.ts'
import {
  BeatSchema,
  CountSchema,
  closed,
  type Frozen,
  MarkSchema,
  MessageIdsSchema,
  oneOf,
  orNull,
  SessionSchema,
  StoredMessageSchema,
} from './wire-values.ts'

/**
 * The frames of a host's one WebSocket, each a JSON text. The bridge begins with a challenge. The host joins for each of its
 * sessions with a proof made from that challenge, a nonce of its own and the session's token (`joinProof`); the bridge
 * answers with its own proof (`joinedProof`). From the first of these answers on all frames of both sides are sealed
 * (`FrameSeal`); until then there is one join under way at a time. The host sends beats, and gets messages.
 */

/** Answers to `beat` and `mark` name the number that the host gave them; numbers rise within a connection. */
const number = { n: CountSchema }

const Proof = Type.String({ minLength: 1, maxLength: 100 })

/** Bytes of the largest frame before a session has joined. */
export const UNJOINED_FRAME_MAX = 2_048

export const HOST_FRAMES = {
  /** Joining again takes the place of the earlier join. `after` null: beats only, no mail. */
  join: closed({
    t: oneOf(['join']),
    session: SessionSchema,
    after: orNull(CountSchema),
    /** The host's own chance. Older hosts leave it out, and are told so. */
    nonce: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_-]{16,64}$' })),
    proof: Proof,
  }),
  leave: closed({ t: oneOf(['leave']), session: SessionSchema }),
  /** An empty list only asks whether the bridge still answers. */
  beat: closed({ t: oneOf(['beat']), ...number, beats: Type.Array(BeatSchema, { maxItems: 2_000 }) }),
  mark: closed({ t: oneOf(['mark']), ...number, session: SessionSchema, ids: MessageIdsSchema, mark: MarkSchema }),
  /** The reader has taken all mail up to this id: there is room for more. */
  taken: closed({ t: oneOf(['taken']), session: SessionSchema, id: CountSchema }),
} as const

const Trouble = Type.Object({
  code: oneOf(CODES),
  detail: Type.String(),
  next: Type.Optional(Type.String()),
  retryAfterS: Type.Optional(Type.Number()),
})

export const BRIDGE_FRAMES = {
  challenge: Type.Object({
    t: oneOf(['challenge']),
    challenge: Type.String({ minLength: 16, maxLength: 200 }),
    /** What this bridge understands beyond the first version of its frames. */
    takes: Type.Optional(Type.Array(Type.String({ maxLength: 100 }), { maxItems: 100 })),
  }),
  /** `after`: as in the join that this answers. */
  joined: Type.Object({ t: oneOf(['joined']), session: SessionSchema, after: orNull(CountSchema), proof: Proof }),
  /** A join was not accepted, or has ended. */
  refused: Type.Object({ t: oneOf(['refused']), session: SessionSchema, problem: Trouble }),
  /** There may be a new credential for this session, at the bridge or in git. */
  credential: Type.Object({ t: oneOf(['credential']), session: SessionSchema }),
  mail: Type.Object({ t: oneOf(['mail']), session: SessionSchema, message: StoredMessageSchema }),
  done: Type.Object({ t: oneOf(['done']), ...number }),
  failed: Type.Object({ t: oneOf(['failed']), ...number, problem: Trouble }),
} as const

type FrameOf<F extends Readonly<Record<string, TSchema>>> = {
  [K in keyof F]: Frozen<Static<F[K]>> & { readonly t: K }
}[keyof F]
export type HostFrame = FrameOf<typeof HOST_FRAMES>
export type BridgeFrame = FrameOf<typeof BRIDGE_FRAMES>

/** In `takes` of a challenge: beats may carry what the agent's client does. An older bridge ends a socket that brings such a beat. */
export const TAKES_ACTIVITY = 'activity'

/** How many messages of a session may be under way before the bridge waits for `taken`. */
export const MAIL_WINDOW = 256
/** The host says `taken` at the latest after so many. */
export const TAKEN_EVERY = 64

/** Why a socket was closed, as its close code (RFC 6455, 7.4) says it. */
export const CLOSE = { done: 1000, goingAway: 1001 } as const

/** Null when it is not a frame of these kinds. */
export function readFrame<F extends Readonly<Record<string, TSchema>>>(kinds: F, value: unknown): FrameOf<F> | null {
  if (typeof value !== 'object' || value === null || !('t' in value) || typeof value.t !== 'string') return null
  const schema = Object.hasOwn(kinds, value.t) ? kinds[value.t] : undefined
  return schema !== undefined && checkOf(schema).Check(value) ? (value as unknown as FrameOf<F>) : null
}

/** Reads what a bridge says: `unknown` for a kind of frame that only newer hosts know, null for what is no frame. */
export function readBridgeFrame(data: Buffer): BridgeFrame | 'unknown' | null {
  try {
    const value: unknown = JSON.parse(data.toString('utf8'))
    const frame = readFrame(BRIDGE_FRAMES, value)
    return frame === null && isOfAnotherKind(value) ? 'unknown' : frame
  } catch {
    return null
  }
}

function isOfAnotherKind(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || !('t' in value)) return false
  return typeof value.t === 'string' && !Object.hasOwn(BRIDGE_FRAMES, value.t)
}

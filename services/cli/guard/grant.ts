import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { unlinkSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { GUARD_MODES, type GuardMode } from '#fleet/guard-rules.ts'
import { syncPath } from '#runtime/durable-folder.ts'
import { isSameSecret } from '#runtime/same-secret.ts'
import { publish } from '#spool/atomic-files.ts'
import { parseObject, readPlainFile } from '#spool/plain-file.ts'

/** How long a code may wait to be redeemed, and a token may be used, milliseconds. */
export const CODE_MS = 120_000
export const TOKEN_MAX_MS = 300_000
const GRANT_FILE_MAX = 4_096

/** What a grant is for: guarded commands of a mode, or `answer`, answers from afar to permission prompts; never both. */
export const GRANT_MODES = [...GUARD_MODES, 'answer'] as const
export type GrantMode = (typeof GRANT_MODES)[number]

/** What a person has allowed: it waits for its code first, then for its token. It holds hashes of both and neither. */
export interface Grant {
  readonly stage: 'code' | 'token'
  readonly mode: GrantMode
  readonly folder: string
  /** Hash of the secret that the next step has to show. */
  readonly secret: string
  /** By the machine's clock, milliseconds since 1970. A clock that was put back before `since` ends it too. */
  readonly since: number
  readonly until: number
  /** How long the token will be good for. */
  readonly tokenMs: number
}

export function guardFolder(state: string): string {
  return join(state, 'guard')
}

function grantFile(state: string): string {
  return join(guardFolder(state), 'grant.json')
}

/** Stages 2 and 3: a person allowed it. Answers the one-time code. */
export async function openGrant(
  state: string,
  wanted: Pick<Grant, 'mode' | 'folder' | 'tokenMs'>,
  now: number,
): Promise<string> {
  const code = codeOf(randomBytes(10))
  const tokenMs = Math.min(wanted.tokenMs, TOKEN_MAX_MS)
  await keep(state, { ...wanted, tokenMs, stage: 'code', secret: hashOf(code), since: now, until: now + CODE_MS })
  return code
}

/** Stage 4: gives a token for the code, which is void from then on, right or wrong: whoever guesses has one guess. */
export async function redeemCode(state: string, code: string, now: number): Promise<{ token: string; grant: Grant }> {
  return await spendCode(state, now, async (grant) => {
    if (!matches(grant, asCode(code))) throw wrongCode()
    const token = randomBytes(32).toString('base64url')
    const next: Grant = { ...grant, stage: 'token', secret: hashOf(token), since: now, until: now + grant.tokenMs }
    await keep(state, next)
    return { token, grant: next }
  })
}

/** What is done with the grant whose code waits, and is void from then on. */
async function spendCode<T>(state: string, now: number, spend: (grant: Grant) => Promise<T>): Promise<T> {
  const taken = `${grantFile(state)}.${randomBytes(6).toString('hex')}`
  try {
    await rename(grantFile(state), taken) // of two who redeem at once, one finds it
  } catch {
    throw noGrant()
  }
  try {
    const grant = await readGrantAt(taken)
    if (grant === null || grant.stage !== 'code' || !isLive(grant, now)) throw noGrant()
    return await spend(grant)
  } finally {
    unlinkSync(taken)
    await syncPath(guardFolder(state)) // a code that was guessed at is not good again after a loss of power
  }
}

/** Shows that whoever wrote a text has the code or the token, and tells neither. Any case of a code will do. */
export function proofOf(text: string, secret: string): string {
  const shown = CODE.test(asCode(secret)) ? asCode(secret) : secret.trim()
  return proofBy(text, hashOf(shown))
}

/** Keyed by the hash, which is all that the host keeps. 128 bits of it: more look like a token, and would be redacted on their way. */
function proofBy(text: string, key: string): string {
  return createHmac('sha256', key).update(text).digest('hex').slice(0, 32)
}

/**
 * Allows an answer from afar whose writer has the code or the token of a grant for answers. A code is void from then on, right or
 * wrong; a token is good until its time is over. Throws `forbidden`.
 */
export async function spendOnAnswer(state: string, text: string, proof: string, now: number): Promise<void> {
  const grant = await liveGrant(state, now)
  if (grant?.mode !== 'answer')
    throw new S2Error('forbidden', 'no answer is allowed there now', { next: ASK_FOR_ANSWERS })
  const isProved = ({ secret }: Grant): boolean => isSameSecret(proof, proofBy(text, secret))
  if (grant.stage === 'token' && !isProved(grant))
    throw new S2Error('forbidden', 'the token is not the one that is in force there', { next: ASK_FOR_ANSWERS })
  if (grant.stage === 'token') return
  await spendCode(state, now, async (found) => {
    if (found.mode !== 'answer' || !isProved(found)) throw wrongCode()
  })
}

/** A grant that lets commands run. */
export type CommandGrant = Grant & { readonly mode: GuardMode }

/** The grant of guarded commands that a token is good for. Throws `forbidden`. */
export async function demandGrant(state: string, token: string | undefined, now: number): Promise<CommandGrant> {
  const grant = await readGrant(state)
  if (grant === null || grant.stage !== 'token' || !isLive(grant, now) || !isForCommands(grant)) throw noGrant()
  if (token === undefined || !matches(grant, token)) {
    throw new S2Error('forbidden', 'GUARD_TOKEN does not hold the token that is in force', {
      next: 'set it to what `s2 guard redeem` printed, or ask a person for a new code',
    })
  }
  return grant
}

function isForCommands(grant: Grant): grant is CommandGrant {
  return grant.mode !== 'answer'
}

/** What is in force or waits; null for nothing. */
export async function liveGrant(state: string, now: number): Promise<Grant | null> {
  const grant = await readGrant(state)
  return grant !== null && isLive(grant, now) ? grant : null
}

/** Ends what is allowed, for good. Answers whether there was anything. */
export async function endGrant(state: string): Promise<boolean> {
  try {
    unlinkSync(grantFile(state))
    await syncPath(guardFolder(state))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function keep(state: string, grant: Grant): Promise<void> {
  await publish(grantFile(state), `${JSON.stringify(grant)}\n`)
}

async function readGrant(state: string): Promise<Grant | null> {
  return await readGrantAt(grantFile(state)).catch(() => null) // what cannot be read allows nothing
}

async function readGrantAt(path: string): Promise<Grant | null> {
  const file = await readPlainFile(path, GRANT_FILE_MAX, 'own')
  if (file === null || (file.mode & 0o077) !== 0) return null
  const grant = parseObject(file.text) as unknown as Grant
  const times = [grant.since, grant.until, grant.tokenMs]
  const isWhole =
    (grant.stage === 'code' || grant.stage === 'token') &&
    GRANT_MODES.includes(grant.mode) &&
    typeof grant.folder === 'string' &&
    /^[0-9a-f]{64}$/.test(grant.secret) &&
    times.every(Number.isFinite) &&
    grant.tokenMs <= TOKEN_MAX_MS &&
    grant.until - grant.since <= TOKEN_MAX_MS
  return isWhole ? grant : null
}

function isLive({ since, until }: Grant, now: number): boolean {
  return now >= since && now < until
}

function matches({ secret }: Grant, shown: string): boolean {
  return timingSafeEqual(Buffer.from(secret, 'hex'), Buffer.from(hashOf(shown), 'hex'))
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** Letters and digits that nobody takes for others, in groups. */
const ALPHABET = 'ABCDEFGHJKMNPQRSTUVWXYZ23456789X'

function codeOf(bytes: Buffer): string {
  const letters = [...bytes].map((byte) => ALPHABET[byte % 32])
  return [letters.slice(0, 5), letters.slice(5)].map((part) => part.join('')).join('-')
}

const CODE = /^[A-Z2-9]{5}-[A-Z2-9]{5}$/

function asCode(typed: string): string {
  return typed.trim().toUpperCase()
}

function wrongCode(): S2Error {
  return new S2Error('forbidden', 'the code is wrong, and void now', { next: ASK_A_PERSON })
}

const ASK_FOR_ANSWERS = 'ask a person to type `s2 guard enable --mode answer` at a terminal of that host'
const ASK_A_PERSON = 'ask a person to type `s2 guard enable` at a terminal of this host'

function noGrant(): S2Error {
  return new S2Error('forbidden', 'no guarded command is allowed here now', { next: ASK_A_PERSON })
}

import { randomBytes } from 'node:crypto'
import { hashOfSecret } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { areSignedBy, type Identity, PUBLIC_KEY, type PublicIdentity, RECIPIENT, signFields } from '#fleet/identity.ts'
import { JOIN_REQUEST_MAX, joinRequestId, WORKER_NAME } from '#fleet/worker.ts'
import { gitBranchName, gitRemoteAddress } from '#runtime/setting-parsers.ts'
import { canSealTo, seal, unseal } from './age-seal.ts'
import { hasForm } from './has-form.ts'

/** All that a host must know to join a fleet, in one line. Only its secret is one: it counts once, and not for long. */
export interface Invitation {
  readonly agent: string
  readonly orchestrator: PublicIdentity
  readonly bridgeUrl: string
  readonly remote: string | null
  readonly branch: string
  readonly secret: string
  /** Milliseconds since 1970. */
  readonly endsAt: number
}

const INVITATION = 's2-join-'
const REQUEST = 's2-request-'
/** Shows that a line which a person pasted is whole. */
const REQUEST_END = '.'
const REQUEST_KIND = 's2-join-request/1'
const SECRET = /^[A-Za-z0-9_-]{22}$/

/** A new secret of an invitation, and what the fleet keeps of it. */
export function makeSecret(): { readonly secret: string; readonly secretHash: string } {
  const secret = randomBytes(16).toString('base64url')
  return { secret, secretHash: hashOfSecret(secret) }
}

export function formatInvitation(invitation: Invitation): string {
  const { agent, orchestrator, bridgeUrl, remote, branch, secret, endsAt } = invitation
  const fields = [1, agent, orchestrator.key, orchestrator.recipient, bridgeUrl, remote, branch, secret, endsAt]
  return INVITATION + Buffer.from(JSON.stringify(fields)).toString('base64url')
}

/** Whether this is the beginning of an invitation, and no more: the rest of a line with breaks is to come. */
export function isInvitationBegun(text: string): boolean {
  return squeezed(text).startsWith(INVITATION) && fieldsIn(text, INVITATION).length === 0
}

/** Reads an invitation as a person pasted it. Throws `invalid`, or `expired`. `now` is the wall clock, milliseconds. */
export function parseInvitation(line: string, now: number): Invitation {
  const [version, agent, key, recipient, bridgeUrl, remote, branch, secret, endsAt] = fieldsIn(line, INVITATION)
  const isSound =
    version === 1 &&
    hasForm(agent, WORKER_NAME) &&
    hasForm(key, PUBLIC_KEY) &&
    hasForm(recipient, RECIPIENT) &&
    hasForm(bridgeUrl, /^https?:\/\/\S{1,300}$/) &&
    (remote === null || (hasForm(remote, /^[^\0\n]{1,1000}$/) && isTaken(remote, gitRemoteAddress))) &&
    hasForm(branch, /^\S{1,200}$/) &&
    isTaken(branch, gitBranchName) &&
    hasForm(secret, SECRET) &&
    typeof endsAt === 'number'
  if (!isSound) throw notALine('an invitation', 's2 worker invite')
  if (endsAt <= now)
    throw new S2Error('expired', `the invitation of ${agent} ended at ${new Date(endsAt).toISOString()}`, {
      next: 'have it invited again: s2 worker invite; if it was made just now, compare the clocks of the two hosts',
    })
  return { agent, orchestrator: { key, recipient }, bridgeUrl, remote: remote as string | null, branch, secret, endsAt }
}

/** A host's request to join: its public keys and the secret, signed by the host, sealed to the orchestrator. */
export async function makeJoinRequest(
  invitation: Invitation,
  identity: Identity,
  host: string,
): Promise<{ readonly id: string; readonly sealed: string }> {
  const fields = signedFields({
    agent: invitation.agent,
    secret: invitation.secret,
    key: identity.key,
    recipient: identity.recipient,
    host,
  })
  const signature = signFields(identity, REQUEST_KIND, fields)
  const sealed = await seal(JSON.stringify({ ...fields, signature }), invitation.orchestrator.recipient)
  return { id: joinRequestId(sealed), sealed }
}

/** What a host asks for that wants to join. */
export interface OpenedJoinRequest extends PublicIdentity {
  readonly agent: string
  readonly secretHash: string
  readonly host: string
}

/** Opens a request to join. Throws `invalid` for what is none: it may come from anybody. */
export async function openJoinRequest(sealed: string, orchestrator: Identity): Promise<OpenedJoinRequest> {
  const text = sealed.length > JOIN_REQUEST_MAX ? null : await unseal(sealed, orchestrator.ageKey)
  let given: Readonly<Record<string, unknown>> | null = null
  try {
    given = text === null ? null : JSON.parse(text)
  } catch {
    // no JSON: refused below
  }
  const { agent, secret, key, recipient, host, signature } = given ?? {}
  const isSound =
    hasForm(agent, WORKER_NAME) &&
    hasForm(secret, SECRET) &&
    hasForm(key, PUBLIC_KEY) &&
    hasForm(recipient, RECIPIENT) &&
    hasForm(host, /^[\w.:-]{1,100}$/)
  if (!isSound)
    throw new S2Error('invalid', 'the request to join cannot be read', { next: 'make it again with a new invitation' })
  if (!areSignedBy(key, REQUEST_KIND, signedFields({ agent, secret, key, recipient, host }), String(signature)))
    throw new S2Error('invalid', 'the request to join is not signed by the key that it names', {
      next: 'make it again with a new invitation',
    })
  if (!(await canSealTo(recipient)))
    throw new S2Error('invalid', 'nothing can be sealed to the recipient that the request to join names', {
      next: 'make it again with a new invitation',
    })
  return { agent, secretHash: hashOfSecret(secret), key, recipient, host }
}

/** A request as a line, for a person to carry. */
export function formatJoinRequest(sealed: string): string {
  return `${REQUEST}${Buffer.from(sealed, 'base64').toString('base64url')}${REQUEST_END}`
}

/** Whether this is the beginning of a request, and no more. */
export function isJoinRequestBegun(text: string): boolean {
  return squeezed(text).startsWith(REQUEST) && !squeezed(text).endsWith(REQUEST_END)
}

/** The sealed request in such a line. Throws `invalid`. */
export function parseJoinRequest(line: string): string {
  const text = squeezed(line)
  const content = text.slice(REQUEST.length, -REQUEST_END.length)
  const isSound = text.startsWith(REQUEST) && text.endsWith(REQUEST_END) && /^[A-Za-z0-9_-]+$/.test(content)
  if (!isSound) throw notALine('a request to join', 's2 worker join')
  return Buffer.from(content, 'base64url').toString('base64')
}

function signedFields({
  agent,
  secret,
  key,
  recipient,
  host,
}: PublicIdentity & { agent: string; secret: string; host: string }) {
  return { agent, secret, key, recipient, host }
}

/** A line may come from anybody: what it names is held to what a setting may say. */
function isTaken(value: string, parse: (value: string) => string): boolean {
  try {
    parse(value)
    return true
  } catch {
    return false
  }
}

/** The fields of a line; none where it is no such line. */
function fieldsIn(line: string, prefix: string): readonly unknown[] {
  const text = squeezed(line)
  if (!text.startsWith(prefix)) return []
  try {
    const fields = JSON.parse(Buffer.from(text.slice(prefix.length), 'base64url').toString('utf8'))
    return Array.isArray(fields) ? fields : []
  } catch {
    return []
  }
}

/** Terminals and mail programs break long lines. */
function squeezed(line: string): string {
  return line.replaceAll(/\s+/g, '')
}

function notALine(what: string, command: string): S2Error {
  return new S2Error('invalid', `that is not ${what}, or a part of it is missing`, {
    next: `paste the whole line that \`${command}\` printed`,
  })
}

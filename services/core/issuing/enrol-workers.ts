import type { Conversation } from '#fleet/conversation.ts'
import { credentialPath } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { conversationOf, type Side, sessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { publishCredential, readCredentials, removeCredential } from '#spool/credentials.ts'
import type { Store } from '#store/store.ts'
import type { GitPublisher } from './git-publisher.ts'
import { hintWorkers } from './hint-workers.ts'
import {
  credentialOf,
  type IssuedConversation,
  readPublished,
  renewTokens,
  serialAfter,
  workerFile,
} from './worker-credential-file.ts'

/** A worker that shall be in the fleet. */
export interface EnrolledWorker {
  readonly number: number
  readonly agent: string
  readonly role: string
}

export interface EnrolConfig {
  /** What the orchestrator's agent is called. */
  readonly orchestrator: string
  readonly state: string
  readonly bridgeUrl: string
  readonly lifetimeMs: number
}

export interface EnrolParts {
  readonly store: Store
  readonly publisher: GitPublisher
  readonly clock: Clock
}

/** How long the token before stays in force when a worker's file is made anew. */
const OVERLAP_MS = 600_000

/**
 * Sees to it that every worker has a conversation and its credential in the remote, and that the orchestrator's ends lie
 * on this host. Does only what is missing or about to end, so it may be repeated. Answers whose credential was pushed.
 */
export async function enrolWorkers(
  workers: readonly EnrolledWorker[],
  config: EnrolConfig,
  parts: EnrolParts,
): Promise<string[]> {
  const { store, publisher, clock } = parts
  const conversations = await store.conversations()
  const files = new Map<string, string>()
  const pushed: string[] = []
  for (const worker of workers) {
    const known = await ofWorker(conversations, worker, config, store)
    const published = await readPublished(publisher, worker.number)
    const isCurrent =
      known !== undefined &&
      published?.conversation === known.id &&
      published.bridgeUrl === config.bridgeUrl &&
      published.expiresAt - clock.wall() > config.lifetimeMs / 2
    const issued = isCurrent ? null : await enrol(known, worker, config, store)
    if (issued !== null) {
      const serial = serialAfter(published?.createdAt, clock.wall())
      files.set(credentialPath(worker.number), workerFile(issued, { bridgeUrl: config.bridgeUrl }, serial))
      pushed.push(worker.agent)
    }
    await keepOwnEnd(issued ?? known, config, parts)
  }
  if (files.size > 0) {
    await publisher.publish(files, `Credentials of ${pushed.join(', ')}`)
    await hintWorkers(store, pushed).catch(() => undefined) // the polls find them too
  }
  await dropEnded(config, store)
  return pushed
}

/** Takes the orchestrator's ends out of force whose conversations this bridge has no more. */
async function dropEnded({ state, bridgeUrl }: EnrolConfig, store: Store): Promise<void> {
  const live = new Set((await store.conversations()).map(({ id }) => id))
  const { credentials } = await readCredentials(state)
  for (const { session, bridgeUrl: bridge } of credentials) {
    if (bridge === bridgeUrl && !live.has(conversationOf(session))) await removeCredential(state, session)
  }
}

/** The worker's live conversation; one with another role than the fleet file says is ended. */
async function ofWorker(
  conversations: readonly Conversation[],
  worker: EnrolledWorker,
  { orchestrator }: EnrolConfig,
  store: Store,
): Promise<Conversation | undefined> {
  const its = conversations.filter(({ agents }) => agents.a === orchestrator && agents.b === worker.agent)
  for (const { id, roles } of its) if (roles.b !== worker.role) await store.endConversation(id)
  return its.findLast(({ roles }) => roles.b === worker.role)
}

async function enrol(
  known: Conversation | undefined,
  worker: EnrolledWorker,
  { orchestrator, lifetimeMs }: EnrolConfig,
  store: Store,
): Promise<IssuedConversation> {
  if (known !== undefined)
    return await renewTokens(store, await store.renewConversation(known.id, lifetimeMs), OVERLAP_MS)
  return await store.openConversation({
    roles: { a: orchestrator, b: worker.role },
    agents: { a: orchestrator, b: worker.agent },
    lifetimeMs,
  })
}

const OWN: Side = 'a'

async function keepOwnEnd(
  conversation: Conversation | undefined,
  { state, bridgeUrl, lifetimeMs }: EnrolConfig,
  { store, clock }: EnrolParts,
): Promise<void> {
  if (conversation === undefined) return
  const session = sessionId(conversation.id, OWN)
  const { credentials } = await readCredentials(state)
  const mine = credentials.find((each) => each.session === session)
  const isCurrent = mine !== undefined && mine.bridgeUrl === bridgeUrl && mine.expiresAt - clock.wall() > lifetimeMs / 2
  if (isCurrent) return
  const [a] = await store.tokens(session)
  if (a === undefined) throw new S2Error('expired', `conversation ${conversation.id} has no token in force`)
  const serial = serialAfter(mine?.createdAt, clock.wall())
  await publishCredential(state, credentialOf({ ...conversation, tokens: { a, b: '' } }, OWN, { bridgeUrl }, serial))
}

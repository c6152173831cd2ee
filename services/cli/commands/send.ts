import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UnavailableError, UsageError } from '#console/failure.ts'
import { stateFolder } from '#console/state-folder.ts'
import { isKeepaliveThere, mayLookInto, reachFleet } from '#console/store-access.ts'
import { ago } from '#console/terminal-text.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { checkDraft, type MessageDraft, TEXT_MAX } from '#fleet/message.ts'
import {
  conversationOf,
  ORCHESTRATOR,
  parseSession,
  partnerOf,
  type SessionId,
  sessionId,
  sideOf,
} from '#fleet/session-id.ts'
import { Pauses } from '#runtime/backoff.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { closest } from '#runtime/read-settings.ts'
import { type FoundCredentials, readCredentials } from '#spool/credentials.ts'
import { Outbox } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import { askOnce, cameEarlier, doneUntold, type KeptRequest } from '../kept-requests.ts'
import { duration } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 send s2-worker-3 'please look at issue 12 first'
  s2 send orchestrator 'done; see docs/plan.md' --file docs/plan.md
  git diff | s2 send reviewer -            the text from standard input
  s2 send s2-worker-3 'now?' --wait        returns when the bridge has it

Sent is not received: the answer says how far the message has come. A \`queued\` message is safe in the fleet's store,
a \`waiting\` one is safe in this host's outbox until the bridge can be reached.

Where nobody knows whether a message came, say the same command again within an hour: it is sent with the key that it had, and
so not twice. A message that has come is told with its key.`

interface Options {
  readonly from?: string
  readonly action?: string
  readonly file?: string[]
  readonly key?: string
  readonly wait?: true
  readonly waitFor?: number
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<to>', 'an agent, a conversation, or a session of one')
    .argument('<text...>', 'the message; - reads it from standard input')
    .option('--from <session>', 'session to send as, where this host has several')
    .option('--action <type>', 'what the message is about, for example review_request')
    .option('--file <path...>', 'names of files that the message is about')
    .option(
      '--key <key>',
      'a message with a key that was sent before is not sent again; a different one with it is refused',
    )
    .option('--wait', 'wait until the bridge has it')
    .option('--wait-for <duration>', 'wait no longer than this', duration)
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (to: string, words: string[], options: Options) => {
      const text = words.length === 1 && words[0] === '-' ? await context.input(TEXT_MAX * 4 + 1) : words.join(' ')
      const draft: MessageDraft = { text, action: options.action ?? null, files: options.file ?? [] }
      checkDraft(draft)
      await send(context, to, draft, options)
    })
}

/** How far a message has come, as far as the sender can know. */
interface Sent {
  readonly state: 'waiting' | 'carried' | 'queued' | 'delivered' | 'leased' | 'acked'
  readonly from: SessionId
  readonly to: SessionId
  /** Its number in the store; null where it has none yet. */
  readonly id: number | null
  /** Its name in the outbox. */
  readonly name: string | null
  /** A message with this key is not sent again. */
  readonly key: string
  /** When an earlier try brought it into the store, milliseconds since 1970; null where this one did, or nobody can tell. */
  readonly cameAt: number | null
  /** Why keepalive does not carry it just now; null where it does, or where it has left. */
  readonly why: string | null
}

function inWords({ state, to, id, name, key, cameAt, why }: Sent, now: number): string {
  const what = id === null ? 'the message' : `message ${id}`
  if (state === 'waiting') {
    return `waiting: ${what} to ${to} lies in the outbox (${name}); ${why ?? 'keepalive carries it to the bridge'}`
  }
  if (state === 'carried') return `carried: the bridge has ${what} to ${to}; it is not read yet`
  if (cameAt !== null)
    return `${state}: ${what} to ${to} came into the store ${ago(now - cameAt)} ago, by an earlier try (key ${key}): it was not sent again`
  return `${state}: ${what} to ${to} is in the store (key ${key}); it counts as received when it is acked`
}

function say(context: CommandContext, sent: Sent, { json }: Options): void {
  context.print(`${json === true ? JSON.stringify(sent) : inWords(sent, context.clock.wall())}\n`)
}

async function send(context: CommandContext, to: string, draft: MessageDraft, options: Options): Promise<void> {
  const state = stateFolder(context)
  const found = await readCredentials(state)
  const outbox = new Outbox(state)
  // A later message must not overtake those that wait in the outbox, whether keepalive answers just now or not.
  const isCarried = async (): Promise<boolean> => (await isKeepaliveThere(state)) || (await outbox.names()).length > 0
  if (found.credentials.length > 0 && (await isCarried())) {
    const from = await senderAmong(context, to, found, options)
    if (found.credentials.some(({ session }) => session === from)) {
      const sent = await throughOutbox(context, state, from, draft, options)
      say(context, sent, options)
      if (!(await context.flush())) context.tell(doneUntold(`--key ${sent.key}`, false))
      return
    }
  }
  await using reached = await reachFleet(context)
  const conversations = await reached.store.conversations()
  const own = reached.as === 'session' ? reached.credentials.map(({ session }) => session) : null
  const from = chooseSender(to, conversations, own, options.from)
  await straight(context, state, reached.store, from, draft, options)
}

/** Sends to the store itself. A key that was drawn here is kept until the outcome was told. */
async function straight(
  context: CommandContext,
  state: string,
  store: Store,
  from: SessionId,
  draft: MessageDraft,
  options: Options,
): Promise<void> {
  const began = context.clock.wall()
  const parts = {
    state,
    asked: ['send', from, draft, options.key ?? null],
    fresh: () => options.key ?? `s2-send-${randomBytes(12).toString('hex')}`,
    optionOf: (key: string) => `--key ${key}`,
  }
  const ask = async ({ request: key }: KeptRequest<string>): Promise<Sent> => {
    const { id, sentAt } = await store.send(from, key, draft)
    const cameAt = cameEarlier(sentAt, began) ? sentAt : null
    return { state: 'queued', from, to: partnerOf(from), id, name: null, key, cameAt, why: null }
  }
  await askOnce(context, parts, ask, (sent) => say(context, sent, options))
}

/** The session to send from. An unknown name is looked up at the bridge; without a bridge the only session sends to its partner. */
async function senderAmong(
  context: CommandContext,
  to: string,
  { credentials }: FoundCredentials,
  { from }: Options,
): Promise<SessionId> {
  const own = credentials.map(({ session }) => session)
  const [only] = own
  const named = own.find((session) => to === session || to === partnerOf(session) || to === conversationOf(session))
  if (from === undefined && named !== undefined) return named
  const isName = !to.includes('/') && !to.startsWith('conv_')
  const alone = from === undefined && own.length === 1 && isName ? only : undefined
  if (alone !== undefined && sideOf(alone) === 'b' && to === ORCHESTRATOR) return alone
  await using reached = await reachFleet(context)
  const asked = reached.store.conversations()
  const known = alone === undefined ? await asked : await withinAMoment(asked, context)
  if (known === null) return alone as SessionId
  // The administration may send for sessions whose credentials lie elsewhere, such as those of the Python bridge's agents.
  const isOurs = reached.as === 'session' || leading(to, known, own).some(({ session }) => own.includes(session))
  return chooseSender(to, known, isOurs ? own : null, from)
}

/** The answer; null where the bridge is away or does not accept our credential just now, and the outbox keeps the message. */
async function withinAMoment<T>(asked: Promise<T>, { clock }: CommandContext): Promise<T | null> {
  try {
    const answer = await waitAtMost(asked, ASK_MS, clock)
    return answer === LATE ? null : answer
  } catch (error) {
    if (error instanceof S2Error) return null
    throw error
  }
}

/** How long the bridge is waited for to look a name up, before the message goes to the only possible partner. */
const ASK_MS = 2_000

/**
 * The session that sends to `to`: an agent, a conversation, or one of its sessions. `own` are the sessions that may be used;
 * null: all. Throws `forbidden`, `not_found`, or `UsageError` where several fit.
 */
function chooseSender(
  to: string,
  conversations: readonly Conversation[],
  own: readonly SessionId[] | null,
  from: string | undefined,
): SessionId {
  if (from !== undefined) {
    const { conversation, side } = parseSession(from)
    return sessionId(conversation, side)
  }
  const isMine = ({ session }: End): boolean => own === null || own.includes(session)
  const mine = speakersIn(conversations).filter(isMine)
  const all = leading(to, conversations, own)
  const matching = all.filter(isMine)
  const [chosen, ...others] = matching
  if (chosen === undefined && all.length > 0) {
    const sessions = all.map(({ session }) => session).join(', ')
    throw new S2Error('forbidden', `nothing was sent: no credential of this host speaks to ${JSON.stringify(to)}`, {
      next: `send from where the credential of ${sessions} is`,
    })
  }
  if (chosen === undefined) {
    if (to.startsWith('conv_')) {
      throw new S2Error('not_found', `nothing was sent: there is no live conversation ${JSON.stringify(to)}`, {
        next: 'it has ended, or never was: `s2 conversation list` shows those that live, `s2 conversation create` opens one',
      })
    }
    const near = closest(to, [...new Set(mine.flatMap(({ reader, role }) => [reader, role]))])
    throw new S2Error('not_found', `nothing was sent: no agent or session here is called ${JSON.stringify(to)}`, {
      next: near === undefined ? '`s2 conversation list` shows possible receivers' : `did you mean ${near}?`,
    })
  }
  if (others.length > 0) {
    const choices = matching.map(({ session, speaker, reader }) => `${session} (${speaker} to ${reader})`)
    throw new UsageError(
      `nothing was sent: ${matching.length} conversations lead to ${to}`,
      `name the sending session with --from: ${choices.slice(0, 8).join(', ')}`,
    )
  }
  return chosen.session
}

/** A session that may send in a conversation, and the agent that receives it. */
interface End {
  readonly session: SessionId
  readonly conversation: string
  readonly speaker: string
  readonly reader: string
  readonly role: string
}

function speakersIn(conversations: readonly Conversation[]): End[] {
  return conversations.flatMap(({ id, agents, roles }) => [
    { session: sessionId(id, 'a'), reader: agents.b, role: roles.b, conversation: id, speaker: agents.a },
    { session: sessionId(id, 'b'), reader: agents.a, role: roles.a, conversation: id, speaker: agents.b },
  ])
}

/** The sessions from which `to` can be reached. A worker's orchestrator is its partner, whatever another bridge calls that. */
function leading(to: string, conversations: readonly Conversation[], own: readonly SessionId[] | null): End[] {
  return speakersIn(conversations).filter(
    ({ session, reader, role, conversation }) =>
      to === reader ||
      to === role ||
      to === partnerOf(session) ||
      (to === ORCHESTRATOR && own !== null && sideOf(session) === 'b') ||
      (to === conversation && (own !== null || session.endsWith('/a'))),
  )
}

const CARRY = { firstMs: 20, mostMs: 500, leastMs: 20 }
const WAIT_MS = 3_600_000
/** How long a message with a key is waited for, because the bridge refuses a key that was used for another message. */
const KEY_MS = 2_000

async function throughOutbox(
  context: CommandContext,
  state: string,
  from: SessionId,
  draft: MessageDraft,
  options: Options,
): Promise<Sent> {
  const { clock, chance } = context
  const outbox = new Outbox(state)
  const name = await outbox.put({
    kind: 'send',
    from,
    draft,
    ...(options.key === undefined ? {} : { key: options.key }),
  })
  const key = options.key ?? name
  const sent = { from, to: partnerOf(from), id: null, name, key, cameAt: null, why: null }
  const patienceMs = options.waitFor ?? (options.wait === true ? WAIT_MS : options.key === undefined ? 0 : KEY_MS)
  const began = clock.now()
  const pauses = new Pauses(CARRY, chance)
  while (clock.now() - began < patienceMs) {
    const outcome = await outbox.outcome(name)
    if (outcome === 'carried') return { ...sent, state: 'carried' }
    if (outcome === 'unknown') {
      throw new S2Error('unknown_outcome', 'the message left the outbox, and nothing says whether the bridge has it', {
        next: `send it again with --key ${key}: a message that came is not sent twice`,
      })
    }
    if (outcome !== 'waiting') {
      throw new S2Error(outcome.code, `the bridge did not take the message: ${outcome.message}`, {
        ...(outcome.next === null ? {} : { next: outcome.next }),
      })
    }
    await pauses.wait(clock)
  }
  const waiting: Sent = { ...sent, state: 'waiting', why: await whyNotCarried(context, state, from) }
  if (options.wait === undefined && options.waitFor === undefined) return waiting
  throw new UnavailableError(
    inWords(waiting, clock.wall()),
    'nothing is to be sent again: it leaves the outbox as soon as it can',
  )
}

/** Why keepalive does not carry what is put into the outbox just now; null where it does, as far as it says itself. */
async function whyNotCarried({ clock }: CommandContext, state: string, from: SessionId): Promise<string | null> {
  const socket = healthSocket(state, 'keepalive')
  if (!mayLookInto(dirname(socket))) return 'keepalive is to carry it; whether it runs cannot be seen from here'
  const asked = await waitAtMost(askHealth('keepalive', { path: socket }, clock), HEALTH_MS, clock)
  if (asked === LATE || (asked.state === 'away' && existsSync(socket)))
    return 'keepalive, which is to carry it, does not answer just now'
  if (asked.state === 'away') return 'no s2-keepalive runs on this host: nothing carries it until one does'
  const trouble = Object.entries(asked.troubles).find(([topic]) => topic.startsWith('bridge ') || topic.includes(from))
  return trouble === undefined ? null : `keepalive cannot carry it now: ${trouble[1]}`
}

const HEALTH_MS = 1_000

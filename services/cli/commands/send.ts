import { randomBytes } from 'node:crypto'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UnavailableError, UsageError } from '#console/failure.ts'
import { stateFolder } from '#console/state-folder.ts'
import { reachFleet } from '#console/store-access.ts'
import { ago } from '#console/terminal-text.ts'
import { checkDraft, type MessageDraft, TEXT_MAX } from '#fleet/message.ts'
import { partnerOf, type SessionId } from '#fleet/session-id.ts'
import { putAndWait, whyNotCarried } from '#member/host-outbox.ts'
import { isKeepaliveThere } from '#runtime/program-presence.ts'
import { readCredentials } from '#spool/credentials.ts'
import { Outbox } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import { askOnce, cameEarlier, doneUntold, type KeptRequest } from '../kept-requests.ts'
import { type Route, routeFromHost, routeInFleet, type Wanted } from '../message-route.ts'
import { duration, TEXT_BEHIND_DASHES } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 send s2-worker-3 'please look at issue 12 first'
  s2 send orchestrator 'done; see docs/plan.md' --file docs/plan.md
  git diff | s2 send reviewer -            the text from standard input
  s2 send s2-worker-3 'now?' --wait        returns when the bridge has it
  s2 send --role tests 'the build is red'  to every other agent of the role

Sent is not received: the answer says how far the message has come. A \`queued\` message is safe in the fleet's store,
a \`waiting\` one is safe in this host's outbox until the bridge can be reached.

Where nobody knows whether a message came, say the same command again within an hour: it is sent with the key that it had, and
so not twice. A message that has come is told with its key.`

interface Options {
  readonly from?: string
  readonly role?: string
  readonly action?: string
  readonly file?: string[]
  readonly key?: string
  readonly wait?: true
  readonly waitFor?: number
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .showHelpAfterError(TEXT_BEHIND_DASHES)
    .argument('[to]', 'an agent, a conversation, or a session of one; left out with --role')
    .argument('[text...]', 'the message; - reads it from standard input')
    .option('--role <role>', 'to every other agent of this role, in place of one agent')
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
    .action(async (first: string | undefined, rest: string[], options: Options) => {
      const { to, words } = readArguments(first, rest, options)
      const text = words.length === 1 && words[0] === '-' ? await context.input(TEXT_MAX * 4 + 1) : words.join(' ')
      const draft: MessageDraft = { text, action: options.action ?? null, files: options.file ?? [] }
      checkDraft(draft)
      const wanted = { to, role: options.role ?? null, from: options.from }
      await send(context, draft, { ...options, wanted })
    })
}

/** With a role there is no agent, and all words are the message's. */
function readArguments(
  first: string | undefined,
  rest: readonly string[],
  { role }: Options,
): { readonly to: string | null; readonly words: readonly string[] } {
  const words = role === undefined || first === undefined ? rest : [first, ...rest]
  if (first !== undefined && words.length > 0) return { to: role === undefined ? first : null, words }
  throw new UsageError(
    'nothing was sent: the message is missing',
    "s2 send AGENT 'text', or s2 send --role ROLE 'text'",
  )
}

/** The options, and whom the message is for in the words of its sender, who is answered in them. */
interface Asked extends Options {
  readonly wanted: Wanted
}

/** How far a message has come, as far as the sender can know. */
interface Sent {
  readonly state: 'waiting' | 'carried' | 'queued' | 'delivered' | 'leased' | 'acked'
  readonly from: SessionId
  /** A session, an agent, or a role. */
  readonly to: string
  /** Its number in the store; null where it has none yet. */
  readonly id: number | null
  /** The numbers of all, where it went to several. */
  readonly ids?: readonly number[]
  /** Its name in the outbox. */
  readonly name: string | null
  /** A message with this key is not sent again. */
  readonly key: string
  /** When an earlier try brought it into the store, milliseconds since 1970; null where this one did, or nobody can tell. */
  readonly cameAt: number | null
  /** Why keepalive does not carry it just now; null where it does, or where it has left. */
  readonly why: string | null
}

function inWords(
  { state, to: session, id, ids = [], name, key, cameAt, why }: Sent,
  wanted: Wanted,
  now: number,
): string {
  const to = wanted.to ?? session
  const what = id === null ? 'the message' : ids.length > 1 ? `messages ${ids.join(', ')}` : `message ${id}`
  if (state === 'waiting') {
    return `waiting: ${what} to ${to} lies in the outbox (${name}); ${why ?? 'keepalive carries it to the bridge'}`
  }
  if (state === 'carried') return `carried: the bridge has ${what} to ${to}; it is not read yet`
  if (cameAt !== null)
    return `${state}: ${what} to ${to} came into the store ${ago(now - cameAt)} ago, by an earlier try (key ${key}): it was not sent again`
  return `${state}: ${what} to ${to} is in the store (key ${key}); it counts as received when it is acked`
}

function whomInWords({ from, to }: Route): string {
  if (to === null) return partnerOf(from)
  return 'role' in to ? `the role ${to.role}` : to.agent
}

function say(context: CommandContext, sent: Sent, { json, wanted }: Asked): void {
  context.print(`${json === true ? JSON.stringify(sent) : inWords(sent, wanted, context.clock.wall())}\n`)
}

async function send(context: CommandContext, draft: MessageDraft, options: Asked): Promise<void> {
  const { wanted } = options
  const state = stateFolder(context)
  const found = await readCredentials(state)
  const outbox = new Outbox(state)
  // A later message must not overtake those that wait in the outbox, whether keepalive answers just now or not.
  const isCarried = async (): Promise<boolean> => (await isKeepaliveThere(state)) || (await outbox.names()).length > 0
  if (found.credentials.length > 0 && (await isCarried())) {
    const own = found.credentials.map(({ session }) => session)
    const route = await routeFromHost(context, wanted, own)
    if (own.includes(route.from)) {
      const sent = await throughOutbox(context, state, route, draft, options)
      say(context, sent, options)
      if (!(await context.flush())) context.tell(doneUntold(`--key ${sent.key}`, false))
      return
    }
  }
  await using reached = await reachFleet(context)
  const conversations = await reached.store.conversations()
  const own = reached.as === 'session' ? reached.credentials.map(({ session }) => session) : null
  const route = await routeInFleet(reached.store, wanted, conversations, own)
  await straight(context, state, reached.store, route, draft, options)
}

/** Sends to the store itself. A key that was drawn here is kept until the outcome was told. */
async function straight(
  context: CommandContext,
  state: string,
  store: Store,
  { from, to }: Route,
  draft: MessageDraft,
  options: Asked,
): Promise<void> {
  const began = context.clock.wall()
  const parts = {
    state,
    asked: ['send', from, ...(to === null ? [] : [to]), draft, options.key ?? null],
    fresh: () => options.key ?? `s2-send-${randomBytes(12).toString('hex')}`,
    optionOf: (key: string) => `--key ${key}`,
  }
  const ask = async ({ request: key }: KeptRequest<string>): Promise<Sent> => {
    const sent = to === null ? [await store.send(from, key, draft)] : await store.post(from, to, key, draft)
    const ids = sent.map(({ id }) => id)
    const sentAt = Math.min(...sent.map((message) => message.sentAt))
    const cameAt = cameEarlier(sentAt, began) ? sentAt : null
    const several = ids.length > 1 ? { ids } : {}
    const id = ids[0] ?? null
    return { state: 'queued', from, to: whomInWords({ from, to }), id, ...several, name: null, key, cameAt, why: null }
  }
  await askOnce(context, parts, ask, (sent) => say(context, sent, options))
}

const WAIT_MS = 3_600_000
/** How long a message with a key is waited for, because the bridge refuses a key that was used for another message. */
const KEY_MS = 2_000

async function throughOutbox(
  context: CommandContext,
  state: string,
  route: Route,
  draft: MessageDraft,
  options: Asked,
): Promise<Sent> {
  const { clock, chance } = context
  const { from, to } = route
  const given = options.key === undefined ? {} : { key: options.key }
  const item =
    to === null
      ? ({ kind: 'send', from, draft, ...given } as const)
      : ({ kind: 'post', from, to, draft, ...given } as const)
  const patienceMs = options.waitFor ?? (options.wait === true ? WAIT_MS : options.key === undefined ? 0 : KEY_MS)
  const { state: come, name } = await putAndWait(new Outbox(state), item, { clock, chance, patienceMs })
  const sent = { from, to: whomInWords(route), id: null, name, key: options.key ?? name, cameAt: null, why: null }
  if (come === 'carried') return { ...sent, state: come }
  const waiting: Sent = { ...sent, state: 'waiting', why: await whyNotCarried(clock, state, from) }
  if (options.wait === undefined && options.waitFor === undefined) return waiting
  throw new UnavailableError(
    inWords(waiting, options.wanted, clock.wall()),
    'nothing is to be sent again: it leaves the outbox as soon as it can',
  )
}

// By name and not by their default exports, which bring everything they have: that costs each program 5 MB.
import type { Static, TProperties, TSchema } from 'typebox'
import * as Type from 'typebox'
import { Compile, type Validator } from 'typebox/schema'
import { isOwnAct } from '#fleet/audit.ts'
import { CREDENTIAL_FILE_MAX } from '#fleet/credential.ts'
import { INCIDENT_KINDS } from '#fleet/incident.ts'
import { DELIVERY } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { MOVE_REASONS, PRIORITIES, TASK_STATES } from '#fleet/task.ts'
import { VERDICTS } from '#fleet/verdict.ts'
import type { Store } from '../store.ts'

/**
 * The one description of the bridge's HTTP API: `POST /v1/<verb>`, JSON in, JSON out. The bridge checks requests against it,
 * the remote store answers. What a verb means is said by `Store`.
 */

/**
 * Who may call. `public`: anybody, unsigned; what is asked and answered is sealed or signed by itself. `session`: a session for itself alone, by its own signature. `participant`: a session, for what its
 * conversations let it see (`bridge/permissions.ts`). `admin`: only the bridge's own host, through the administration
 * socket, which may call all verbs.
 */
export type Authority = 'public' | 'session' | 'participant' | 'admin'

/** How a verb behaves when its answer was lost: `reads` changes nothing, `repeats` answers the same again, `once` does not. */
export type Effect = 'reads' | 'repeats' | 'once'

export interface Verb {
  readonly who: Authority
  readonly effect: Effect
  readonly input: TSchema
  readonly output: TSchema
  /** Whether every session that the arguments speak for is this one. */
  speaksFor?(input: unknown, session: SessionId): boolean
  call(store: Store, input: unknown): Promise<unknown>
}

/** A schema's type, read-only: what a store answers. */
export type Frozen<T> = T extends readonly (infer E)[]
  ? readonly Frozen<E>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T

/** Input is closed: what is not named is refused. Output is open, so that an older client understands a newer bridge. */
function verb<const I extends TProperties, O extends TSchema>(
  kind: readonly [Authority, Effect],
  input: I,
  output: O,
  call: (store: Store, input: Static<Type.TObject<I>>) => Promise<Frozen<Static<O>>>,
  speaksFor?: (input: Static<Type.TObject<I>>, session: SessionId) => boolean,
): Verb & { readonly input: Type.TObject<I>; readonly output: O } {
  return {
    who: kind[0],
    effect: kind[1],
    input: closed(input),
    output,
    // The bridge calls it only with what it has checked against `input`.
    call: call as Verb['call'],
    ...(speaksFor === undefined ? {} : { speaksFor: speaksFor as NonNullable<Verb['speaksFor']> }),
  }
}

export function closed<const P extends TProperties>(properties: P): Type.TObject<P> {
  return Type.Object(properties, { additionalProperties: false })
}

/** One of some words, checked by a pattern: faster than a union, with a better message. */
export function oneOf<const W extends string>(words: readonly W[]) {
  return Type.Unsafe<W>(Type.String({ pattern: `^(?:${words.join('|')})$` }))
}

export function orNull<S extends TSchema>(schema: S) {
  return Type.Union([schema, Type.Null()])
}

const Nothing = Type.Null()
export const CountSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Whole = Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER })
/** Milliseconds, or a time since 1970. */
const Ms = Type.Number({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Limit = Type.Integer({ minimum: 1, maximum: 10_000 })
const Name = Type.String({ minLength: 1, maxLength: 200 })
/** What a host is called, and a life of an agent: as S2_HOST has it. It goes into alerts, where other characters mean things. */
const HostName = Type.String({ pattern: '^[A-Za-z0-9_.:-]{1,200}$' })
/** What agents and roles are called; a session's id stands in for an agent that has no name. */
const AgentName = Type.String({ pattern: '^[\\p{L}\\p{N}_.:@/+ -]{1,200}$' })
export const SessionSchema = Type.Unsafe<SessionId>(Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}/[ab]$' }))
const ConversationId = Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' })
/** Any text: the store checks it, with a better message. */
const Text = Type.String()
const Channels = Type.Array(Name, { maxItems: 100 })

const Sides = closed({ a: AgentName, b: AgentName })
const conversation = {
  id: Type.String(),
  roles: Type.Object({ a: Type.String(), b: Type.String() }),
  agents: Type.Object({ a: Type.String(), b: Type.String() }),
  createdAt: Type.Number(),
  expiresAt: Type.Number(),
}
const Conversation = Type.Object(conversation)
const Opened = Type.Object({ ...conversation, tokens: Type.Object({ a: Type.String(), b: Type.String() }) })

const KeyText = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' })
const RequestId = Type.String({ pattern: '^[0-9a-f]{64}$' })
const worker = {
  agent: Type.String(),
  role: Type.String(),
  conversation: orNull(Type.String()),
  key: orNull(Type.String()),
  recipient: orNull(Type.String()),
  host: orNull(Type.String()),
  serial: CountSchema,
  published: CountSchema,
  invitedAt: orNull(Type.Number()),
  joinedAt: orNull(Type.Number()),
  revokedAt: orNull(Type.Number()),
}

const message = {
  id: CountSchema,
  from: SessionSchema,
  to: SessionSchema,
  text: Type.String(),
  action: orNull(Type.String()),
  files: Type.Array(Type.String()),
  sentAt: Type.Number(),
}
const Message = Type.Object(message)
export const StoredMessageSchema = Type.Object({ ...message, delivery: oneOf(DELIVERY) })
const Draft = closed({
  text: Type.String(),
  action: Type.Optional(orNull(Type.String())),
  files: Type.Optional(Type.Array(Type.String(), { maxItems: 10_000 })),
})
export const MarkSchema = oneOf(['delivered', 'leased', 'acked'])
export const MessageIdsSchema = Type.Array(CountSchema, { maxItems: 10_000 })

const beat = { session: SessionSchema, host: HostName, incarnation: HostName, seq: CountSchema, work: CountSchema }
export const BeatSchema = closed(beat)
const Pulses = Type.Object({
  pulses: Type.Array(Type.Object({ ...beat, host: Type.String(), incarnation: Type.String(), version: CountSchema })),
  cursor: CountSchema,
  tick: Type.String(),
})

const result = { exitCode: orNull(Whole), signal: orNull(Type.String({ maxLength: 40 })), tail: Type.String() }
const Task = Type.Object({
  id: Type.String(),
  description: Type.String(),
  priority: oneOf(PRIORITIES),
  role: orNull(Type.String()),
  state: oneOf(TASK_STATES),
  epoch: CountSchema,
  holder: orNull(SessionSchema),
  originalAssignee: orNull(SessionSchema),
  incarnation: orNull(Type.String()),
  leaseSeq: CountSchema,
  moves: CountSchema,
  progress: orNull(Type.String()),
  result: orNull(Type.Object({ exitCode: orNull(Whole), signal: orNull(Type.String()), tail: Type.String() })),
  deadline: orNull(Type.Number()),
  createdBy: orNull(SessionSchema),
  createdAt: Type.Number(),
  updatedAt: Type.Number(),
})
const NewTask = closed({
  id: Text,
  description: Type.String(),
  priority: oneOf(PRIORITIES),
  role: orNull(AgentName),
  holder: orNull(SessionSchema),
  deadline: orNull(Ms),
  createdBy: orNull(SessionSchema),
})
const Report = closed({
  task: Text,
  epoch: CountSchema,
  state: oneOf(['in_progress', 'completed', 'failed']),
  progress: orNull(Type.String()),
  result: orNull(closed(result)),
})
const Move = closed({ task: Text, epoch: CountSchema, to: orNull(SessionSchema), reason: oneOf(MOVE_REASONS) })
const Evidence = Type.Object({
  holder: SessionSchema,
  report: Type.Object({
    task: Type.String(),
    epoch: CountSchema,
    state: oneOf(['in_progress', 'completed', 'failed']),
    progress: orNull(Type.String()),
    result: orNull(Type.Object(result)),
  }),
  at: Type.Number(),
})

const incident = {
  id: CountSchema,
  cause: Type.String({ maxLength: 1000 }),
  kind: oneOf(INCIDENT_KINDS),
  agent: orNull(Type.String({ maxLength: 1000 })),
  summary: Type.String(),
  openedAt: Type.Number(),
  closedAt: orNull(Type.Number()),
}
const Incident = Type.Object(incident)
const NewIncident = closed({
  cause: incident.cause,
  kind: incident.kind,
  agent: incident.agent,
  summary: incident.summary,
})
const alert = { event: oneOf(['opened', 'closed']), channel: Type.String(), attempts: CountSchema }
const Alert = Type.Object({ incident: Incident, ...alert })
const verdict = { agent: Name, verdict: oneOf(VERDICTS), since: Type.Number(), host: orNull(Type.String()) }
const details = Type.Record(Type.String(), Type.Unknown())
const AuditEntry = Type.Object({
  version: Type.Union([Type.Literal(1), Type.Literal(2)]),
  seq: CountSchema,
  at: Type.Number(),
  actor: Type.String(),
  action: Type.String(),
  what: orNull(Type.String()),
  result: Type.String(),
  latencyMs: orNull(Type.Number()),
  request: orNull(Type.String()),
  details,
  hash: Type.String(),
})
const AuditHead = Type.Object({ store: Type.String(), seq: CountSchema, hash: Type.String(), at: Type.Number() })
const Act = closed({
  actor: Name,
  action: Name,
  what: Type.Optional(orNull(Name)),
  result: Type.Optional(Name),
  details,
})

export const VERBS = {
  openConversation: verb(
    ['admin', 'once'],
    {
      wanted: closed({ roles: Sides, agents: Sides, lifetimeMs: Ms, isForObserver: Type.Optional(Type.Boolean()) }),
    },
    Opened,
    (store, { wanted }) => store.openConversation(wanted),
  ),
  conversations: verb(['participant', 'reads'], {}, Type.Array(Conversation), (store) => store.conversations()),
  renewConversation: verb(
    ['admin', 'repeats'],
    { id: ConversationId, lifetimeMs: Ms },
    Conversation,
    (store, { id, lifetimeMs }) => store.renewConversation(id, lifetimeMs),
  ),
  endConversation: verb(['admin', 'repeats'], { id: ConversationId }, Nothing, async (store, { id }) => {
    await store.endConversation(id)
    return null
  }),
  tokens: verb(['admin', 'reads'], { session: SessionSchema }, Type.Array(Type.String()), (store, { session }) =>
    store.tokens(session),
  ),
  rotateToken: verb(
    ['admin', 'once'],
    { session: SessionSchema, overlapMs: Ms },
    Type.String(),
    (store, { session, overlapMs }) => store.rotateToken(session, overlapMs),
  ),
  workers: verb(['admin', 'reads'], {}, Type.Array(Type.Object(worker)), (store) => store.workers()),
  inviteWorker: verb(
    ['admin', 'repeats'],
    { invitation: closed({ agent: Text, role: Name, secretHash: KeyText, endsAt: Ms }) },
    Type.Object(worker),
    (store, { invitation }) => store.inviteWorker(invitation),
  ),
  admitWorker: verb(
    ['admin', 'repeats'],
    {
      admission: closed({
        agent: Text,
        key: KeyText,
        recipient: Text,
        host: orNull(Name),
        secretHash: orNull(KeyText),
        role: orNull(Name),
        orchestrator: Name,
        lifetimeMs: Ms,
      }),
    },
    Type.Object(worker),
    (store, { admission }) => store.admitWorker(admission),
  ),
  issueTokens: verb(
    ['admin', 'once'],
    { agent: Text, overlapMs: Ms, lifetimeMs: Ms },
    Type.Object(worker),
    (store, { agent, overlapMs, lifetimeMs }) => store.issueTokens(agent, overlapMs, lifetimeMs),
  ),
  revokeWorker: verb(['admin', 'repeats'], { agent: Text }, Type.Object(worker), (store, { agent }) =>
    store.revokeWorker(agent),
  ),
  renameWorker: verb(
    ['admin', 'once'],
    { agent: Text, changes: closed({ agent: Type.Optional(Text), role: Type.Optional(Name) }) },
    Type.Object(worker),
    (store, { agent, changes }) => store.renameWorker(agent, changes),
  ),
  notePublished: verb(
    ['admin', 'repeats'],
    { agent: Text, serial: CountSchema, file: Type.String({ maxLength: CREDENTIAL_FILE_MAX }) },
    Nothing,
    async (store, { agent, serial, file }) => {
      await store.notePublished(agent, serial, file)
      return null
    },
  ),
  publishedCredential: verb(['public', 'reads'], { key: KeyText }, orNull(Type.String()), (store, { key }) =>
    store.publishedCredential(key),
  ),
  confirmToken: verb(
    ['session', 'repeats'],
    { session: SessionSchema, tokenHash: KeyText },
    Nothing,
    async (store, { session, tokenHash }) => {
      await store.confirmToken(session, tokenHash)
      return null
    },
    ({ session }, speaker) => session === speaker,
  ),
  submitJoin: verb(
    ['public', 'repeats'],
    { sealed: Type.String({ pattern: '^[A-Za-z0-9+/=]{1,8192}$' }) },
    Type.String(),
    (store, { sealed }) => store.submitJoin(sealed),
  ),
  joinOutcome: verb(
    ['public', 'reads'],
    { id: RequestId },
    Type.Object({ state: oneOf(['waiting', 'admitted', 'refused', 'unknown']), why: orNull(Type.String()) }),
    (store, { id }) => store.joinOutcome(id),
  ),
  joinRequests: verb(
    ['admin', 'reads'],
    {},
    Type.Array(Type.Object({ id: Type.String(), sealed: Type.String(), at: Type.Number() })),
    (store) => store.joinRequests(),
  ),
  settleJoin: verb(
    ['admin', 'repeats'],
    { id: RequestId, state: oneOf(['admitted', 'refused']), why: orNull(Text) },
    Nothing,
    async (store, { id, state, why }) => {
      await store.settleJoin(id, state, why)
      return null
    },
  ),
  hintCredentials: verb(
    ['participant', 'repeats'],
    { conversations: Type.Array(ConversationId, { maxItems: 10_000 }) },
    Nothing,
    async (store, { conversations }) => {
      await store.hintCredentials(conversations)
      return null
    },
  ),

  send: verb(
    ['session', 'repeats'],
    { from: SessionSchema, key: Text, draft: Draft },
    Message,
    (store, { from, key, draft }) => store.send(from, key, draft),
    ({ from }, session) => from === session,
  ),
  unacked: verb(
    ['session', 'reads'],
    { reader: SessionSchema, after: CountSchema, limit: Limit },
    Type.Array(StoredMessageSchema),
    (store, { reader, after, limit }) => store.unacked(reader, after, limit),
    ({ reader }, session) => reader === session,
  ),
  mark: verb(
    ['session', 'repeats'],
    { reader: SessionSchema, ids: MessageIdsSchema, mark: MarkSchema },
    Nothing,
    async (store, { reader, ids, mark }) => {
      await store.mark(reader, ids, mark)
      return null
    },
    ({ reader }, session) => reader === session,
  ),

  beat: verb(
    ['session', 'repeats'],
    { beats: Type.Array(BeatSchema, { maxItems: 10_000 }) },
    Nothing,
    async (store, { beats }) => {
      await store.beat(beats)
      return null
    },
    ({ beats }, session) => beats.every((each) => each.session === session),
  ),
  pulses: verb(['admin', 'reads'], { after: CountSchema }, Pulses, (store, { after }) => store.pulses(after)),

  addTask: verb(['participant', 'repeats'], { task: NewTask }, Task, (store, { task }) => store.addTask(task)),
  tasks: verb(
    ['participant', 'reads'],
    {
      filter: closed({
        open: Type.Optional(Type.Boolean()),
        holder: Type.Optional(SessionSchema),
        state: Type.Optional(oneOf(TASK_STATES)),
        limit: Type.Optional(CountSchema),
      }),
    },
    Type.Array(Task),
    (store, { filter }) => store.tasks(filter),
  ),
  task: verb(['participant', 'reads'], { id: Text }, Task, (store, { id }) => store.task(id)),
  leaseTask: verb(
    ['session', 'once'],
    { holder: SessionSchema, incarnation: HostName },
    orNull(Task),
    (store, { holder, incarnation }) => store.leaseTask(holder, incarnation),
    ({ holder }, session) => holder === session,
  ),
  report: verb(
    ['session', 'repeats'],
    { holder: SessionSchema, report: Report },
    Task,
    (store, { holder, report }) => store.report(holder, report),
    ({ holder }, session) => holder === session,
  ),
  cancelTask: verb(['participant', 'repeats'], { id: Text }, Task, (store, { id }) => store.cancelTask(id)),
  move: verb(['admin', 'once'], { move: Move }, Type.Boolean(), (store, { move }) => store.move(move)),
  evidence: verb(['participant', 'reads'], { task: Text }, Type.Array(Evidence), (store, { task }) =>
    store.evidence(task),
  ),

  openIncident: verb(
    ['admin', 'once'],
    { incident: NewIncident, channels: Channels },
    Type.Boolean(),
    (store, { incident, channels }) => store.openIncident(incident, channels),
  ),
  closeIncident: verb(
    ['admin', 'once'],
    { cause: incident.cause, channels: Channels },
    Type.Boolean(),
    (store, { cause, channels }) => store.closeIncident(cause, channels),
  ),
  incidents: verb(
    ['participant', 'reads'],
    { filter: closed({ open: Type.Boolean() }) },
    Type.Array(Incident),
    (store, { filter }) => store.incidents(filter),
  ),
  claimAlerts: verb(
    ['admin', 'once'],
    { channels: Channels, leaseMs: Ms },
    Type.Array(Alert),
    (store, { channels, leaseMs }) => store.claimAlerts(channels, leaseMs),
  ),
  settleAlert: verb(
    ['admin', 'repeats'],
    {
      alert: closed({ incident: closed(incident), ...alert }),
      outcome: Type.Union([Type.Literal('told'), closed({ retryMs: Ms })]),
    },
    Nothing,
    async (store, { alert, outcome }) => {
      await store.settleAlert(alert, outcome)
      return null
    },
  ),

  judge: verb(['admin', 'repeats'], { verdicts: Type.Array(closed(verdict)) }, Nothing, async (store, { verdicts }) => {
    await store.judge(verdicts)
    return null
  }),
  verdicts: verb(
    ['participant', 'reads'],
    {},
    Type.Object({ at: orNull(Type.Number()), verdicts: Type.Array(Type.Object(verdict)) }),
    (store) => store.verdicts(),
  ),
  tend: verb(['admin', 'repeats'], {}, Type.Number(), (store) => store.tend()),
  audit: verb(
    ['admin', 'reads'],
    { after: CountSchema, limit: Limit },
    Type.Array(AuditEntry),
    (store, { after, limit }) => store.audit(after, limit),
  ),
  auditHead: verb(['admin', 'reads'], {}, AuditHead, (store) => store.auditHead()),
  record: verb(
    ['session', 'once'],
    { act: Act },
    Nothing,
    async (store, { act }) => {
      await store.record(act)
      return null
    },
    ({ act }, session) => act.actor === session && isOwnAct(act.action),
  ),
  prune: verb(['admin', 'repeats'], { olderThanMs: Ms }, CountSchema, (store, { olderThanMs }) =>
    store.prune(olderThanMs),
  ),
} satisfies Record<string, Verb>

export type VerbName = keyof typeof VERBS
export type Input<N extends VerbName> = Static<(typeof VERBS)[N]['input']>
export type Output<N extends VerbName> = Static<(typeof VERBS)[N]['output']>

/**
 * What is streamed instead of answered, on the administration socket only: one JSON text a line, for as long as the
 * caller listens. A cursor is the caller's; after a break it asks again from what it has.
 */
export const STREAMS = {
  mail: { input: closed({ reader: SessionSchema, after: CountSchema }), item: StoredMessageSchema },
  traffic: { input: closed({ after: CountSchema }), item: Type.Array(StoredMessageSchema) },
  credentialHints: { input: closed({}), item: Type.Array(Type.String()) },
} as const

export type StreamName = keyof typeof STREAMS

export const ROOT = '/v1/'
export const SOCKET_PATH = '/v1/socket'

const compiled = new WeakMap<TSchema, Validator>()

/** The compiled check of a schema, made when it is first needed: a command uses one verb, not thirty. */
export function checkOf(schema: TSchema): Validator {
  const known = compiled.get(schema)
  if (known !== undefined) return known
  const fresh: Validator = Compile(schema)
  compiled.set(schema, fresh)
  return fresh
}

/** What is wrong with a value, as a clause: where, and what is wanted there. */
export function schemaFaultOf(schema: TSchema, value: unknown): string {
  const [first] = checkOf(schema).Errors(value)[1]
  if (first === undefined) return 'is not what was wanted'
  const where = first.instancePath === '' ? 'it' : first.instancePath.slice(1).replaceAll('/', '.').slice(0, 100)
  return `${where}: ${first.message}`
}

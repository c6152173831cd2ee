import type { Static } from 'typebox'
import * as Type from 'typebox'
import { isOwnAct } from '#fleet/audit.ts'
import { CREDENTIAL_FILE_MAX } from '#fleet/credential.ts'
import { SAID_STATUSES } from '#fleet/said-status.ts'
import { TASK_STATES } from '#fleet/task.ts'
import {
  AddresseeSchema,
  AgentConditionSchema,
  AlertSchema,
  AuditEntrySchema,
  AuditedActSchema,
  AuditHeadSchema,
  BeatSchema,
  CauseSchema,
  ChannelsSchema,
  ConditionSchema,
  ConversationIdSchema,
  ConversationSchema,
  CountSchema,
  closed,
  DraftSchema,
  FleetAgentSchema,
  HostNameSchema,
  IncidentSchema,
  JudgedVerdictSchema,
  KeySchema,
  LastStatusSchema,
  LateReportSchema,
  LeasedMessageSchema,
  LeaseNotesSchema,
  LimitSchema,
  MarkSchema,
  MessageIdsSchema,
  MessageSchema,
  MessageStatusSchema,
  MoveSchema,
  MsSchema,
  NameSchema,
  NewIncidentSchema,
  NewReservationSchema,
  NewTaskSchema,
  NothingSchema,
  ObservedBeatsSchema,
  OpenedConversationSchema,
  oneOf,
  orNull,
  PlaceSchema,
  ReportSchema,
  RequestIdSchema,
  ReservationChoiceSchema,
  ReservationSchema,
  SessionSchema,
  SettledAlertSchema,
  SidesSchema,
  StoredMessageSchema,
  TaskEndingSchema,
  TaskSchema,
  TextSchema,
  UncheckedCommitSchema,
  VerdictSchema,
  WorkerSchema,
} from './wire-values.ts'
import { type Verb, verb } from './wire-verb.ts'

/**
 * The one description of the bridge's HTTP API: `POST /v1/<verb>`, JSON in, JSON out. The bridge checks requests against it,
 * the remote store answers. What a verb means is said by `Store`.
 */

export const VERBS = {
  openConversation: verb(
    ['admin', 'once'],
    {
      wanted: closed({
        roles: SidesSchema,
        agents: SidesSchema,
        lifetimeMs: MsSchema,
        isForObserver: Type.Optional(Type.Boolean()),
      }),
    },
    OpenedConversationSchema,
    (store, { wanted }) => store.openConversation(wanted),
  ),
  conversations: verb(['participant', 'reads'], {}, Type.Array(ConversationSchema), (store) => store.conversations()),
  renewConversation: verb(
    ['admin', 'repeats'],
    { id: ConversationIdSchema, lifetimeMs: MsSchema },
    ConversationSchema,
    (store, { id, lifetimeMs }) => store.renewConversation(id, lifetimeMs),
  ),
  endConversation: verb(['admin', 'repeats'], { id: ConversationIdSchema }, NothingSchema, async (store, { id }) => {
    await store.endConversation(id)
    return null
  }),
  tokens: verb(['admin', 'reads'], { session: SessionSchema }, Type.Array(Type.String()), (store, { session }) =>
    store.tokens(session),
  ),
  rotateToken: verb(
    ['admin', 'once'],
    { session: SessionSchema, overlapMs: MsSchema },
    Type.String(),
    (store, { session, overlapMs }) => store.rotateToken(session, overlapMs),
  ),
  workers: verb(['admin', 'reads'], {}, Type.Array(WorkerSchema), (store) => store.workers()),
  inviteWorker: verb(
    ['admin', 'repeats'],
    {
      invitation: closed({
        agent: TextSchema,
        role: NameSchema,
        secretHash: KeySchema,
        endsAt: MsSchema,
        conversation: Type.Optional(ConversationIdSchema),
      }),
    },
    WorkerSchema,
    (store, { invitation }) => store.inviteWorker(invitation),
  ),
  admitWorker: verb(
    ['admin', 'repeats'],
    {
      admission: closed({
        agent: TextSchema,
        key: KeySchema,
        recipient: TextSchema,
        host: orNull(NameSchema),
        secretHash: orNull(KeySchema),
        role: orNull(NameSchema),
        orchestrator: NameSchema,
        lifetimeMs: MsSchema,
      }),
    },
    WorkerSchema,
    (store, { admission }) => store.admitWorker(admission),
  ),
  issueTokens: verb(
    ['admin', 'once'],
    { agent: TextSchema, overlapMs: MsSchema, lifetimeMs: MsSchema },
    WorkerSchema,
    (store, { agent, overlapMs, lifetimeMs }) => store.issueTokens(agent, overlapMs, lifetimeMs),
  ),
  revokeWorker: verb(['admin', 'repeats'], { agent: TextSchema }, WorkerSchema, (store, { agent }) =>
    store.revokeWorker(agent),
  ),
  renameWorker: verb(
    ['admin', 'once'],
    { agent: TextSchema, changes: closed({ agent: Type.Optional(TextSchema), role: Type.Optional(NameSchema) }) },
    WorkerSchema,
    (store, { agent, changes }) => store.renameWorker(agent, changes),
  ),
  notePublished: verb(
    ['admin', 'repeats'],
    { agent: TextSchema, serial: CountSchema, file: Type.String({ maxLength: CREDENTIAL_FILE_MAX }) },
    NothingSchema,
    async (store, { agent, serial, file }) => {
      await store.notePublished(agent, serial, file)
      return null
    },
  ),
  publishedCredential: verb(['public', 'reads'], { key: KeySchema }, orNull(Type.String()), (store, { key }) =>
    store.publishedCredential(key),
  ),
  confirmToken: verb(
    ['session', 'repeats'],
    { session: SessionSchema, tokenHash: KeySchema },
    NothingSchema,
    async (store, { session, tokenHash }) => {
      await store.confirmToken(session, tokenHash)
      return null
    },
    ({ session }, speaker) => session === speaker,
  ),
  noteRefusal: verb(
    ['session', 'repeats'],
    { session: SessionSchema, why: orNull(Type.String({ maxLength: 2_000 })) },
    NothingSchema,
    async (store, { session, why }) => {
      await store.noteRefusal(session, why)
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
    { id: RequestIdSchema },
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
    { id: RequestIdSchema, state: oneOf(['admitted', 'refused']), why: orNull(TextSchema) },
    NothingSchema,
    async (store, { id, state, why }) => {
      await store.settleJoin(id, state, why)
      return null
    },
  ),
  hintCredentials: verb(
    ['participant', 'repeats'],
    { conversations: Type.Array(ConversationIdSchema, { maxItems: 10_000 }) },
    NothingSchema,
    async (store, { conversations }) => {
      await store.hintCredentials(conversations)
      return null
    },
  ),

  send: verb(
    ['session', 'repeats'],
    { from: SessionSchema, key: TextSchema, draft: DraftSchema },
    MessageSchema,
    (store, { from, key, draft }) => store.send(from, key, draft),
    ({ from }, session) => from === session,
  ),
  post: verb(
    ['participant', 'repeats'],
    { from: SessionSchema, to: AddresseeSchema, key: TextSchema, draft: DraftSchema },
    Type.Array(MessageSchema),
    (store, { from, to, key, draft }) => store.post(from, to, key, draft),
  ),
  listAgents: verb(['participant', 'reads'], {}, Type.Array(FleetAgentSchema), (store) => store.listAgents()),
  unacked: verb(
    ['session', 'reads'],
    { reader: SessionSchema, after: CountSchema, limit: LimitSchema },
    Type.Array(StoredMessageSchema),
    (store, { reader, after, limit }) => store.unacked(reader, after, limit),
    ({ reader }, session) => reader === session,
  ),
  leaseMessages: verb(
    ['session', 'once'],
    { reader: SessionSchema, by: NameSchema, limit: LimitSchema, leaseMs: MsSchema },
    Type.Array(LeasedMessageSchema),
    (store, { reader, by, limit, leaseMs }) => store.leaseMessages(reader, by, limit, leaseMs),
    ({ reader }, session) => reader === session,
  ),
  noteLeases: verb(
    ['session', 'repeats'],
    { reader: SessionSchema, notes: LeaseNotesSchema },
    NothingSchema,
    async (store, { reader, notes }) => {
      await store.noteLeases(reader, notes)
      return null
    },
    ({ reader }, session) => reader === session,
  ),
  messageStatus: verb(['participant', 'reads'], { id: CountSchema }, MessageStatusSchema, (store, { id }) =>
    store.messageStatus(id),
  ),
  giveUpMessages: verb(
    ['session', 'repeats'],
    { reader: SessionSchema, ids: MessageIdsSchema, why: Type.String({ maxLength: 2_000 }) },
    NothingSchema,
    async (store, { reader, ids, why }) => {
      await store.giveUpMessages(reader, ids, why)
      return null
    },
    ({ reader }, session) => reader === session,
  ),
  deadLetters: verb(['participant', 'reads'], {}, Type.Array(MessageStatusSchema), (store) => store.deadLetters()),
  retryMessages: verb(
    ['participant', 'repeats'],
    { ids: MessageIdsSchema },
    Type.Array(MessageSchema),
    (store, { ids }) => store.retryMessages(ids),
  ),
  dropMessages: verb(['participant', 'repeats'], { ids: MessageIdsSchema }, NothingSchema, async (store, { ids }) => {
    await store.dropMessages(ids)
    return null
  }),
  newest: verb(['admin', 'reads'], {}, CountSchema, (store) => store.newest()),
  mark: verb(
    ['session', 'repeats'],
    { reader: SessionSchema, ids: MessageIdsSchema, mark: MarkSchema },
    NothingSchema,
    async (store, { reader, ids, mark }) => {
      await store.mark(reader, ids, mark)
      return null
    },
    ({ reader }, session) => reader === session,
  ),

  beat: verb(
    ['session', 'repeats'],
    { beats: Type.Array(BeatSchema, { maxItems: 10_000 }) },
    NothingSchema,
    async (store, { beats }) => {
      await store.beat(beats)
      return null
    },
    ({ beats }, session) => beats.every((each) => each.session === session),
  ),
  pulses: verb(['admin', 'reads'], { after: CountSchema }, ObservedBeatsSchema, (store, { after }) =>
    store.pulses(after),
  ),
  noteStatus: verb(
    ['session', 'repeats'],
    { session: SessionSchema, status: oneOf(SAID_STATUSES) },
    NothingSchema,
    async (store, { session, status }) => {
      await store.noteStatus(session, status)
      return null
    },
    ({ session }, speaker) => session === speaker,
  ),
  lastStatus: verb(
    ['participant', 'reads'],
    { session: SessionSchema },
    orNull(LastStatusSchema),
    (store, { session }) => store.lastStatus(session),
  ),

  addTask: verb(['participant', 'repeats'], { task: NewTaskSchema }, TaskSchema, (store, { task }) =>
    store.addTask(task),
  ),
  tasks: verb(
    ['participant', 'reads'],
    {
      filter: closed({
        open: Type.Optional(Type.Boolean()),
        holder: Type.Optional(SessionSchema),
        state: Type.Optional(oneOf(TASK_STATES)),
        limit: Type.Optional(CountSchema),
        newest: Type.Optional(Type.Boolean()),
      }),
    },
    Type.Array(TaskSchema),
    (store, { filter }) => store.tasks(filter),
  ),
  task: verb(['participant', 'reads'], { id: TextSchema }, TaskSchema, (store, { id }) => store.task(id)),
  leaseTask: verb(
    ['session', 'repeats'],
    {
      holder: SessionSchema,
      incarnation: HostNameSchema,
      passing: Type.Optional(Type.Array(TextSchema, { maxItems: 1_000 })),
      place: Type.Optional(PlaceSchema),
    },
    orNull(TaskSchema),
    (store, { holder, incarnation, passing, place }) => store.leaseTask(holder, incarnation, passing, place),
    ({ holder }, session) => holder === session,
  ),
  report: verb(
    ['session', 'repeats'],
    { holder: SessionSchema, report: ReportSchema },
    TaskSchema,
    (store, { holder, report }) => store.report(holder, report),
    ({ holder }, session) => holder === session,
  ),
  cancelTask: verb(['participant', 'repeats'], { id: TextSchema }, TaskSchema, (store, { id }) => store.cancelTask(id)),
  move: verb(['admin', 'once'], { move: MoveSchema }, Type.Boolean(), (store, { move }) => store.move(move)),
  endTask: verb(['admin', 'repeats'], { ending: TaskEndingSchema }, Type.Boolean(), (store, { ending }) =>
    store.endTask(ending),
  ),
  remindTask: verb(
    ['admin', 'repeats'],
    { id: TextSchema, epoch: CountSchema },
    Type.Boolean(),
    (store, { id, epoch }) => store.remindTask(id, epoch),
  ),
  noteCondition: verb(
    ['session', 'repeats'],
    { session: SessionSchema, condition: orNull(ConditionSchema) },
    NothingSchema,
    async (store, { session, condition }) => {
      await store.noteCondition(session, condition)
      return null
    },
    ({ session }, speaker) => session === speaker,
  ),
  conditions: verb(['admin', 'reads'], {}, Type.Array(AgentConditionSchema), (store) => store.conditions()),
  evidence: verb(['participant', 'reads'], { task: TextSchema }, Type.Array(LateReportSchema), (store, { task }) =>
    store.evidence(task),
  ),

  reserveFiles: verb(
    ['session', 'repeats'],
    { holder: SessionSchema, wanted: NewReservationSchema },
    Type.Array(ReservationSchema),
    (store, { holder, wanted }) => store.reserveFiles(holder, wanted),
    ({ holder }, session) => holder === session,
  ),
  releaseFiles: verb(
    ['participant', 'repeats'],
    { holder: SessionSchema, which: ReservationChoiceSchema },
    Type.Array(ReservationSchema),
    (store, { holder, which }) => store.releaseFiles(holder, which),
  ),
  reservations: verb(
    ['participant', 'reads'],
    { seenBy: Type.Optional(SessionSchema) },
    Type.Array(ReservationSchema),
    (store, { seenBy }) => store.reservations(seenBy),
  ),
  noteUncheckedCommit: verb(
    ['session', 'repeats'],
    { by: SessionSchema, commit: UncheckedCommitSchema },
    Type.Array(ReservationSchema),
    (store, { by, commit }) => store.noteUncheckedCommit(by, commit),
    ({ by }, session) => by === session,
  ),

  openIncident: verb(
    ['admin', 'once'],
    { incident: NewIncidentSchema, channels: ChannelsSchema, ageMs: Type.Optional(MsSchema) },
    Type.Boolean(),
    (store, { incident, channels, ageMs }) => store.openIncident(incident, channels, ageMs),
  ),
  closeIncident: verb(
    ['admin', 'once'],
    {
      cause: CauseSchema,
      channels: ChannelsSchema,
      outcome: Type.Optional(orNull(Type.String())),
      ageMs: Type.Optional(MsSchema),
    },
    Type.Boolean(),
    (store, { cause, channels, outcome, ageMs }) => store.closeIncident(cause, channels, outcome, ageMs),
  ),
  incidents: verb(
    ['participant', 'reads'],
    { filter: closed({ open: Type.Boolean() }) },
    Type.Array(IncidentSchema),
    (store, { filter }) => store.incidents(filter),
  ),
  retellIncident: verb(
    ['admin', 'once'],
    { cause: CauseSchema, times: CountSchema, channels: ChannelsSchema },
    Type.Boolean(),
    (store, { cause, times, channels }) => store.retellIncident(cause, times, channels),
  ),
  claimAlerts: verb(
    ['admin', 'once'],
    { channels: ChannelsSchema, leaseMs: MsSchema, all: Type.Optional(ChannelsSchema) },
    Type.Array(AlertSchema),
    (store, { channels, leaseMs, all }) => store.claimAlerts(channels, leaseMs, all),
  ),
  settleAlert: verb(
    ['admin', 'repeats'],
    {
      alert: SettledAlertSchema,
      outcome: Type.Union([Type.Literal('told'), closed({ retryMs: MsSchema })]),
    },
    NothingSchema,
    async (store, { alert, outcome }) => {
      await store.settleAlert(alert, outcome)
      return null
    },
  ),

  judge: verb(
    ['admin', 'repeats'],
    { verdicts: Type.Array(JudgedVerdictSchema) },
    NothingSchema,
    async (store, { verdicts }) => {
      await store.judge(verdicts)
      return null
    },
  ),
  verdicts: verb(
    ['participant', 'reads'],
    {},
    Type.Object({ at: orNull(Type.Number()), verdicts: Type.Array(VerdictSchema) }),
    (store) => store.verdicts(),
  ),
  tend: verb(['admin', 'repeats'], {}, Type.Number(), (store) => store.tend()),
  audit: verb(
    ['admin', 'reads'],
    { after: CountSchema, limit: LimitSchema },
    Type.Array(AuditEntrySchema),
    (store, { after, limit }) => store.audit(after, limit),
  ),
  auditHead: verb(['admin', 'reads'], {}, AuditHeadSchema, (store) => store.auditHead()),
  record: verb(
    ['session', 'once'],
    { act: AuditedActSchema },
    NothingSchema,
    async (store, { act }) => {
      await store.record(act)
      return null
    },
    ({ act }, session) => act.actor === session && isOwnAct(act.action),
  ),
  prune: verb(['admin', 'repeats'], { olderThanMs: MsSchema }, CountSchema, (store, { olderThanMs }) =>
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

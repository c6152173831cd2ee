// By name and not by their default exports, which bring everything they have: that costs each program 5 MB.
import type { TProperties, TSchema } from 'typebox'
import * as Type from 'typebox'
import { CONDITIONS, INSTANT_MAX } from '#fleet/agent-condition.ts'
import type { ClientActivityState } from '#fleet/client-activity.ts'
import { INCIDENT_KINDS } from '#fleet/incident.ts'
import { DELIVERY } from '#fleet/message.ts'
import { RESERVATION_MODES } from '#fleet/reservation.ts'
import type { SessionId } from '#fleet/session-id.ts'
import {
  type Attempt,
  END_REASONS,
  MOVE_REASONS,
  ON_DEADLINE,
  ON_STALL,
  OTHER_ROLES_MAX,
  PRIORITIES,
  REPORT_STATES,
  RETURN_CAUSES,
  TASK_STATES,
} from '#fleet/task.ts'
import { COST_MAX } from '#fleet/usage.ts'
import { VERDICTS } from '#fleet/verdict.ts'

/**
 * The values that cross the wire, as schemas. What callers give is closed: a field that is not named is refused. What is
 * answered is open, so that an older client understands a newer bridge.
 */

/** A schema's type, read-only: what a store answers. */
export type Frozen<T> = T extends readonly (infer E)[]
  ? readonly Frozen<E>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T

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

export const NothingSchema = Type.Null()
export const CountSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Whole = Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER })
/** Milliseconds, or a time since 1970 that a date can show. */
export const MsSchema = Type.Number({ minimum: 0, maximum: INSTANT_MAX })
export const LimitSchema = Type.Integer({ minimum: 1, maximum: 10_000 })
export const NameSchema = Type.String({ minLength: 1, maxLength: 200 })
/** What a host is called, and a life of an agent: as S2_HOST has it. It goes into alerts, where other characters mean things. */
export const HostNameSchema = Type.String({ pattern: '^[A-Za-z0-9_.:-]{1,200}$' })
/** What agents and roles are called; a session's id stands in for an agent that has no name. */
const AgentNameSchema = Type.String({ pattern: '^[\\p{L}\\p{N}_.:@/+ -]{1,200}$' })
export const SessionSchema = Type.Unsafe<SessionId>(Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}/[ab]$' }))
export const ConversationIdSchema = Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' })
/** Any text: the store checks it, with a better message. */
export const TextSchema = Type.String()
export const ChannelsSchema = Type.Array(NameSchema, { maxItems: 100 })

export const SidesSchema = closed({ a: AgentNameSchema, b: AgentNameSchema })
const conversation = {
  id: Type.String(),
  roles: Type.Object({ a: Type.String(), b: Type.String() }),
  agents: Type.Object({ a: Type.String(), b: Type.String() }),
  createdAt: Type.Number(),
  expiresAt: Type.Number(),
}
export const ConversationSchema = Type.Object(conversation)
export const OpenedConversationSchema = Type.Object({
  ...conversation,
  tokens: Type.Object({ a: Type.String(), b: Type.String() }),
})

export const KeySchema = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' })
export const RequestIdSchema = Type.String({ pattern: '^[0-9a-f]{64}$' })
export const WorkerSchema = Type.Object({
  agent: Type.String(),
  role: Type.String(),
  conversation: orNull(Type.String()),
  key: orNull(Type.String()),
  recipient: orNull(Type.String()),
  host: orNull(Type.String()),
  serial: CountSchema,
  published: CountSchema,
  invitedUntil: orNull(Type.Number()),
  joinedAt: orNull(Type.Number()),
  revokedAt: orNull(Type.Number()),
  refusal: orNull(Type.String()),
})

const message = {
  id: CountSchema,
  from: SessionSchema,
  to: SessionSchema,
  sender: Type.Optional(Type.String()),
  text: Type.String(),
  action: orNull(Type.String()),
  files: Type.Array(Type.String()),
  sentAt: Type.Number(),
}
export const MessageSchema = Type.Object(message)
export const StoredMessageSchema = Type.Object({ ...message, delivery: oneOf(DELIVERY) })
export const DraftSchema = closed({
  text: Type.String(),
  action: Type.Optional(orNull(Type.String())),
  files: Type.Optional(Type.Array(Type.String(), { maxItems: 10_000 })),
})
export const AddresseeSchema = Type.Union([closed({ agent: NameSchema }), closed({ role: NameSchema })])
export const FleetAgentSchema = Type.Object({
  agent: Type.String(),
  role: Type.String(),
  leads: Type.Boolean(),
  verdict: orNull(oneOf(VERDICTS)),
  session: orNull(SessionSchema),
})
export const LeasedMessageSchema = Type.Object({ ...message, delivery: oneOf(DELIVERY), times: CountSchema })
export const LeaseNotesSchema = Type.Array(
  closed({ id: CountSchema, by: orNull(NameSchema), at: MsSchema, times: CountSchema }),
  { maxItems: 10_000 },
)
const time = orNull(Type.Number())
export const MessageStatusSchema = Type.Object({
  id: CountSchema,
  from: SessionSchema,
  to: SessionSchema,
  author: SessionSchema,
  sender: orNull(Type.String()),
  queuedAt: Type.Number(),
  delivery: oneOf(DELIVERY),
  deliveredAt: time,
  leasedAt: time,
  leasedBy: orNull(Type.String()),
  leases: CountSchema,
  ackedAt: time,
  dead: orNull(Type.Object({ at: Type.Number(), why: Type.String(), settledAs: orNull(CountSchema) })),
})
export const MarkSchema = oneOf(['delivered', 'leased', 'acked'])
export const MessageIdsSchema = Type.Array(CountSchema, { maxItems: 10_000 })

/** Where a program runs: a digest. */
export const PlaceSchema = Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' })
const beat = {
  session: SessionSchema,
  host: HostNameSchema,
  incarnation: HostNameSchema,
  seq: CountSchema,
  work: CountSchema,
}
/** What a client does. States that only newer versions know are passed over, so any word is let in. */
const activity = {
  state: Type.Unsafe<ClientActivityState>(Type.String({ pattern: '^[a-z_]{1,40}$' })),
  what: orNull(Type.String({ maxLength: 10_000 })),
  until: orNull(MsSchema),
}
export const BeatSchema = closed({
  ...beat,
  place: Type.Optional(PlaceSchema),
  activity: Type.Optional(closed(activity)),
})
export const ObservedBeatsSchema = Type.Object({
  pulses: Type.Array(
    Type.Object({
      ...beat,
      host: Type.String(),
      incarnation: Type.String(),
      activity: Type.Optional(Type.Object(activity)),
      version: CountSchema,
    }),
  ),
  contests: Type.Optional(
    Type.Array(
      Type.Object({ session: SessionSchema, heard: Type.String(), refused: Type.String(), times: CountSchema }),
    ),
  ),
  cursor: CountSchema,
  tick: Type.String(),
  trouble: Type.Optional(
    orNull(
      Type.Object({ kind: oneOf(['locked', 'full']), message: Type.String(), next: Type.String(), since: CountSchema }),
    ),
  ),
})

const usage = {
  inputTokens: CountSchema,
  outputTokens: CountSchema,
  cachedTokens: CountSchema,
  costUsd: orNull(Type.Number({ minimum: 0, maximum: COST_MAX })),
  turns: CountSchema,
}
const KnownUsageSchema = Type.Object(usage)
const result = { exitCode: orNull(Whole), signal: orNull(Type.String({ maxLength: 40 })), tail: Type.String() }
export const TaskSchema = Type.Object({
  id: Type.String(),
  description: Type.String(),
  priority: oneOf(PRIORITIES),
  role: orNull(Type.String()),
  otherRoles: Type.Array(Type.String()),
  state: oneOf(TASK_STATES),
  epoch: CountSchema,
  holder: orNull(SessionSchema),
  originalAssignee: orNull(SessionSchema),
  incarnation: orNull(Type.String()),
  leaseSeq: CountSchema,
  work: CountSchema,
  moves: CountSchema,
  attempts: Type.Array(
    Type.Object({
      epoch: CountSchema,
      holder: SessionSchema,
      startedAt: Type.Number(),
      end: Type.Unsafe<Attempt['end']>(orNull(Type.String())),
      endedAt: orNull(Type.Number()),
      note: Type.String(),
      usage: Type.Optional(KnownUsageSchema),
    }),
  ),
  pause: orNull(Type.Object({ from: Type.Number(), until: Type.Number() })),
  reminded: CountSchema,
  progress: orNull(Type.String()),
  result: orNull(Type.Object({ exitCode: orNull(Whole), signal: orNull(Type.String()), tail: Type.String() })),
  usage: Type.Optional(KnownUsageSchema),
  checkpoint: Type.Optional(Type.String()),
  deadline: orNull(Type.Number()),
  onDeadline: oneOf(ON_DEADLINE),
  onStall: orNull(oneOf(ON_STALL)),
  createdBy: orNull(SessionSchema),
  createdAt: Type.Number(),
  updatedAt: Type.Number(),
})
export const NewTaskSchema = closed({
  id: TextSchema,
  description: Type.String(),
  priority: oneOf(PRIORITIES),
  role: orNull(AgentNameSchema),
  holder: orNull(SessionSchema),
  deadline: orNull(MsSchema),
  createdBy: orNull(SessionSchema),
  otherRoles: Type.Optional(Type.Array(AgentNameSchema, { maxItems: OTHER_ROLES_MAX })),
  onDeadline: Type.Optional(oneOf(ON_DEADLINE)),
  onStall: Type.Optional(orNull(oneOf(ON_STALL))),
})
export const ReportSchema = closed({
  task: TextSchema,
  epoch: CountSchema,
  state: oneOf(REPORT_STATES),
  progress: orNull(Type.String()),
  result: orNull(closed(result)),
  work: Type.Optional(CountSchema),
  cause: Type.Optional(oneOf(RETURN_CAUSES)),
  usage: Type.Optional(closed(usage)),
  checkpoint: Type.Optional(Type.String()),
})
export const TaskEndingSchema = closed({
  task: TextSchema,
  epoch: CountSchema,
  reason: oneOf(END_REASONS),
  words: Type.String({ maxLength: 100_000 }),
})
/** `until` is any number: the store brings it into its bounds, since a place that is not well must get its word across. */
const condition = { state: oneOf(CONDITIONS), why: Type.String({ maxLength: 10_000 }), until: orNull(Type.Number()) }
export const LastStatusSchema = Type.Object({ status: Type.String(), heardAt: MsSchema })
export const ConditionSchema = closed(condition)
export const AgentConditionSchema = Type.Object({ ...condition, session: SessionSchema, since: Type.Number() })
export const MoveSchema = closed({
  task: TextSchema,
  epoch: CountSchema,
  to: orNull(SessionSchema),
  reason: oneOf(MOVE_REASONS),
})
export const LateReportSchema = Type.Object({
  holder: SessionSchema,
  report: Type.Object({
    task: Type.String(),
    epoch: CountSchema,
    state: oneOf(REPORT_STATES),
    progress: orNull(Type.String()),
    result: orNull(Type.Object(result)),
    work: Type.Optional(CountSchema),
    cause: Type.Optional(oneOf(RETURN_CAUSES)),
    usage: Type.Optional(KnownUsageSchema),
    checkpoint: Type.Optional(Type.String()),
  }),
  at: Type.Number(),
})

/** Names, globs and paths are checked by the store, with better messages: here they are bounded. */
const RepositorySchema = Type.Array(Type.String({ maxLength: 1_000 }), { maxItems: 100 })
const GlobsSchema = Type.Array(Type.String({ maxLength: 10_000 }), { maxItems: 1_000 })
export const NewReservationSchema = closed({
  repository: RepositorySchema,
  globs: GlobsSchema,
  mode: oneOf(RESERVATION_MODES),
  forMs: MsSchema,
  task: orNull(TextSchema),
  epoch: orNull(CountSchema),
  note: orNull(Type.String({ maxLength: 10_000 })),
})
export const ReservationChoiceSchema = closed({ repository: orNull(RepositorySchema), globs: orNull(GlobsSchema) })
export const UncheckedCommitSchema = closed({
  repository: RepositorySchema,
  commit: Type.String({ maxLength: 100 }),
  paths: Type.Array(Type.String({ maxLength: 10_000 }), { maxItems: 1_000 }),
})
export const ReservationSchema = Type.Object({
  agent: Type.String(),
  repository: Type.Array(Type.String()),
  glob: Type.String(),
  mode: oneOf(RESERVATION_MODES),
  task: orNull(Type.String()),
  epoch: orNull(CountSchema),
  note: orNull(Type.String()),
  since: Type.Number(),
  until: Type.Number(),
})

export const CauseSchema = Type.String({ maxLength: 1000 })
const incident = {
  id: CountSchema,
  cause: CauseSchema,
  kind: oneOf(INCIDENT_KINDS),
  agent: orNull(Type.String({ maxLength: 1000 })),
  summary: Type.String(),
  openedAt: Type.Number(),
  closedAt: orNull(Type.Number()),
  outcome: orNull(Type.String()),
  retold: CountSchema,
}
export const IncidentSchema = Type.Object(incident)
export const NewIncidentSchema = closed({
  cause: CauseSchema,
  kind: incident.kind,
  agent: incident.agent,
  summary: incident.summary,
})
const alert = { event: oneOf(['opened', 'lasting', 'closed']), channel: Type.String(), attempts: CountSchema }
export const AlertSchema = Type.Object({ incident: IncidentSchema, ...alert })
export const SettledAlertSchema = closed({ incident: closed(incident), ...alert })
const verdict = {
  agent: NameSchema,
  verdict: oneOf(VERDICTS),
  since: Type.Number(),
  host: orNull(Type.String()),
  why: Type.Optional(orNull(Type.String())),
  until: Type.Optional(orNull(Type.Number())),
}
const shownActivity = { ...activity, since: Type.Number() }
export const VerdictSchema = Type.Object({ ...verdict, activity: Type.Optional(orNull(Type.Object(shownActivity))) })
export const JudgedVerdictSchema = closed({ ...verdict, activity: Type.Optional(orNull(closed(shownActivity))) })
const details = Type.Record(Type.String(), Type.Unknown())
export const AuditEntrySchema = Type.Object({
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
export const AuditHeadSchema = Type.Object({
  store: Type.String(),
  seq: CountSchema,
  hash: Type.String(),
  at: Type.Number(),
})
export const AuditedActSchema = closed({
  actor: NameSchema,
  action: NameSchema,
  what: Type.Optional(orNull(NameSchema)),
  result: Type.Optional(NameSchema),
  details,
})

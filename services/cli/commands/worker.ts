import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Command, Option } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { type ReachedFleet, reachAdministration } from '#console/store-access.ts'
import { S2Error } from '#fleet/errors.ts'
import { fingerprint, type PublicIdentity } from '#fleet/identity.ts'
import { ORCHESTRATOR } from '#fleet/session-id.ts'
import { type NewInvitation, type Worker, workerNamed } from '#fleet/worker.ts'
import { ensureIdentity, formatIdentity, type Membership, makeIdentity } from '#identity/identity-file.ts'
import {
  formatInvitation,
  isJoinRequestBegun,
  makeSecret,
  openJoinRequest,
  parseJoinRequest,
} from '#identity/joining.ts'
import { formatDuration } from '#runtime/duration.ts'
import { closest, readSettings } from '#runtime/read-settings.ts'
import { publish } from '#spool/atomic-files.ts'
import { hintCredentials } from '#spool/credential-hint.ts'
import { conversationCalled, workerBehind } from '../adopted-worker.ts'
import { tellWhetherCarried, tellWhetherIssued } from '../cred-sync-away.ts'
import { type Joined, joinFleet, readInvitationLine } from '../join-fleet.ts'
import { role, someTime } from '../option-parsers.ts'
import { workerTable } from '../worker-table.ts'

const EXAMPLES = `
Examples:
  s2 worker invite 3 --role tests     on the orchestrator's host: prints a line that lets one host join as s2-worker-3
  s2 worker join                      on that host: asks for the line, makes its keys, and joins
  s2 worker prepare 4 --role backend --out s2-worker-4.json
        keys for a host that nobody sits at: hand it the file as a secret (S2_IDENTITY)
  s2 worker adopt conv_0123456789abcdef
        a line that lets one host join as the worker at end b of a conversation of the Python bridge; end a keeps its token
  s2 worker list
  s2 worker revoke 3                  its tokens are void at once, and its tasks go to others
  s2 worker rename 3 gpu-box

A worker is known by the keys of its host. It stays in the fleet until it is revoked, however long it was away.
Revoking ends its conversation, also for an agent of the Python bridge at the other end.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  defineInvite(command.command('invite <worker>').description('let one host join as this worker, once'), context)
  defineAdopt(command.command('adopt <conversation> [worker]'), context)
  defineJoin(command.command('join [line]'), context)
  command
    .command('admit [line]')
    .description('admit a host whose request a person carried here: the line that `s2 worker join` printed')
    .option('--json', 'print JSON')
    .action(async (line: string | undefined, options: Json) => await admit(context, line, options))
  definePrepare(
    command.command('prepare <worker>').description('make the keys of a worker here, for a host that nobody sits at'),
    context,
  )
  command
    .command('list')
    .description('list the workers')
    .option('--json', 'print JSON')
    .action(async (options: Json) => await list(context, options))
  command
    .command('revoke <worker...>')
    .description('end workers: their tokens and credentials are void at once, and their open tasks go to other agents')
    .option('--json', 'print JSON')
    .action(async (workers: string[], options: Json) => await revoke(context, workers, options))
  defineRename(command.command('rename <worker> [name]'), context)
}

interface Json {
  readonly json?: true
}

interface InviteOptions extends Json {
  readonly role?: string
  readonly for: number
}

interface JoinOptions extends Json {
  readonly force?: true
}

interface PrepareOptions extends Json {
  readonly role?: string
  readonly out: string
}

interface RenameOptions extends Json {
  readonly role?: string
}

function defineInvite(command: Command, context: CommandContext): void {
  command
    .option('--role <role>', 'the kind of work that it does; a known worker keeps its own', role)
    .addOption(forOption())
    .option('--json', 'print JSON')
    .action(async (worker: string, options: InviteOptions) => await invite(context, worker, options))
}

function defineAdopt(command: Command, context: CommandContext): void {
  command
    .description('let one host join as the worker at end b of a conversation that the Python bridge made')
    .option('--role <role>', 'the kind of work that it does; without it the role of that end', role)
    .addOption(forOption())
    .option('--json', 'print JSON')
    .action(
      async (conversation: string, worker: string | undefined, options: InviteOptions) =>
        await adopt(context, conversation, worker, options),
    )
}

function forOption(): Option {
  return new Option('--for <duration>', 'how long the invitation counts').argParser(someTime).default(3_600_000, '1h')
}

function defineJoin(command: Command, context: CommandContext): void {
  command
    .description(
      'join the fleet that invites this host; the line is read from standard input, or asked for, unless given',
    )
    .option('--force', 'leave the fleet that this host belongs to')
    .option('--json', 'print JSON')
    .action(async (line: string | undefined, options: JoinOptions) => await enter(context, line, options))
}

function defineRename(command: Command, context: CommandContext): void {
  command
    .description('give a worker another name or role; its host needs to do nothing')
    .option('--role <role>', 'the kind of work that it does', role)
    .option('--json', 'print JSON')
    .action(
      async (worker: string, name: string | undefined, options: RenameOptions) =>
        await rename(context, worker, name, options),
    )
}

function definePrepare(command: Command, context: CommandContext): void {
  command
    .option('--role <role>', 'the kind of work that it does; a known worker keeps its own', role)
    .requiredOption('--out <file>', 'where the keys are written; the file is a secret')
    .option('--json', 'print JSON')
    .action(async (worker: string, options: PrepareOptions) => await prepare(context, worker, options))
}

async function invite(context: CommandContext, text: string, options: InviteOptions): Promise<void> {
  const agent = workerNamed(text)
  await using reached = await reachAdministration(context)
  const known = await find(reached, agent)
  const wanted = { agent, role: roleFor(agent, options.role, known) }
  await giveLine(context, reached, wanted, options, replacing(known))
}

async function adopt(
  context: CommandContext,
  conversation: string,
  worker: string | undefined,
  options: InviteOptions,
): Promise<void> {
  await using reached = await reachAdministration(context)
  const adopted = conversationCalled(conversation, await reached.store.conversations())
  const wanted = workerBehind(adopted, { worker, role: options.role })
  await giveLine(context, reached, wanted, options, ` behind ${adopted.id}`)
  if (options.json !== true) context.tell('When it has joined, end b has a new token; end a keeps its own.\n')
}

/** Invites the worker, and prints the line for its host. */
async function giveLine(
  context: CommandContext,
  reached: ReachedFleet,
  wanted: Pick<NewInvitation, 'agent' | 'role' | 'conversation'>,
  options: InviteOptions,
  more: string,
): Promise<void> {
  const { agent } = wanted
  const membership = await membershipOf(context, reached, agent)
  const { secret, secretHash } = makeSecret()
  const endsAt = context.clock.wall() + options.for
  await reached.store.inviteWorker({ ...wanted, secretHash, endsAt })
  const line = formatInvitation({ ...membership, secret, endsAt })
  if (options.json === true) return context.print(`${JSON.stringify({ ...wanted, endsAt, line })}\n`)
  context.print(`${line}\n`)
  context.tell(
    `The line lets one host join as ${agent} (${wanted.role}) within ${formatDuration(options.for)}${more}.\nThere: s2 worker join, and paste it.\n`,
  )
  await tellWhetherIssued(context)
}

/** What a new host of a worker means for the one it has. */
function replacing(known: Worker | undefined): string {
  const hasHost = known !== undefined && known.joinedAt !== null && known.revokedAt === null
  return hasHost ? '; it takes the place of the host that is this worker now' : ''
}

async function enter(context: CommandContext, given: string | undefined, options: JoinOptions): Promise<void> {
  const line = await readInvitationLine(context, given)
  const joined = await joinFleet(context, line, { force: options.force === true })
  if (options.json === true) context.print(`${JSON.stringify(joined)}\n`)
  else tellJoined(context, joined)
  await tellWhetherCarried(context)
  if (joined.way !== 'bridge' || joined.isAdmitted) return
  throw new S2Error(
    'unavailable',
    `the bridge has the request of ${joined.agent}, and nobody has admitted it within a minute`,
    {
      next: 'on the orchestrator’s host, start s2-cred-sync (S2_ISSUER=yes); the request waits there for a day, and this host needs to do nothing more',
    },
  )
}

function tellJoined(context: CommandContext, joined: Joined): void {
  const { way, agent } = joined
  if (way === 'git') {
    context.print(
      `The request of ${agent} lies at the git remote: it is admitted when the orchestrator’s host looks there, within a minute or so.\n`,
    )
  } else if (way === 'line') {
    context.tell(
      `Neither the bridge nor the git remote took the request (${joined.why.join('; ')}).\nGive this line to the orchestrator’s host: s2 worker admit\n`,
    )
    context.print(`${joined.line}\n`)
  } else if (joined.isAdmitted) context.print(`This host is ${agent} now; s2-cred-sync brings its credential.\n`)
}

async function admit(context: CommandContext, given: string | undefined, { json }: Json): Promise<void> {
  const line = given === undefined || given === '-' ? await requestLine(context, given) : given
  const { S2_STATE, S2_LIFETIME } = readSettings(commandEnv(context), ['S2_STATE', 'S2_LIFETIME'])
  await using reached = await reachAdministration(context)
  const request = await openJoinRequest(parseJoinRequest(line), await ensureIdentity(S2_STATE))
  const worker = await reached.store.admitWorker({
    ...request,
    role: null,
    orchestrator: ORCHESTRATOR,
    lifetimeMs: S2_LIFETIME,
  })
  await hintCredentials(S2_STATE)
  if (json === true) return context.print(`${JSON.stringify(worker)}\n`)
  context.print(`${worker.agent} is admitted: host ${request.host}, key ${fingerprint(request.key)}\n`)
  await tellWhetherIssued(context)
}

async function requestLine(context: CommandContext, given: string | undefined): Promise<string> {
  if (!context.isAttended || given === '-') return await context.input(65_536)
  return (
    (await context.ask('Paste the line that `s2 worker join` printed: ', (text) => !isJoinRequestBegun(text))) ?? ''
  )
}

async function prepare(context: CommandContext, text: string, options: PrepareOptions): Promise<void> {
  const agent = workerNamed(text)
  const path = resolve(context.folder, options.out)
  if (existsSync(path))
    throw new UsageError(`${options.out} exists already`, 'name another file with --out, or remove that one')
  await using reached = await reachAdministration(context)
  const known = await find(reached, agent)
  const wantedRole = roleFor(agent, options.role, known)
  const identity = { ...(await makeIdentity()), membership: await membershipOf(context, reached, agent) }
  await publish(path, formatIdentity(identity), 0o600)
  const worker = await admitPrepared(context, reached, identity, wantedRole).catch(async (error: unknown) => {
    // Keys that were not admitted are of no use; where that is not known they may be.
    if (!(error instanceof S2Error) || error.code !== 'unknown_outcome') await rm(path, { force: true })
    throw error
  })
  if (options.json === true) return context.print(`${JSON.stringify({ ...worker, identity: path })}\n`)
  context.print(
    `${agent} is admitted by the keys in ${options.out}: hand that file to its host alone, as S2_IDENTITY${replacing(known)}\n`,
  )
  await tellWhetherIssued(context)
}

async function admitPrepared(
  context: CommandContext,
  { store }: ReachedFleet,
  { key, recipient, membership: { agent } }: PublicIdentity & { readonly membership: Membership },
  wantedRole: string,
): Promise<Worker> {
  const { S2_STATE, S2_LIFETIME } = readSettings(commandEnv(context), ['S2_STATE', 'S2_LIFETIME'])
  const admission = { agent, key, recipient, host: null, secretHash: null, role: wantedRole }
  const worker = await store.admitWorker({ ...admission, orchestrator: ORCHESTRATOR, lifetimeMs: S2_LIFETIME })
  await hintCredentials(S2_STATE)
  return worker
}

async function list(context: CommandContext, { json }: Json): Promise<void> {
  await using reached = await reachAdministration(context)
  const workers = await reached.store.workers()
  if (json === true) return context.print(`${JSON.stringify(workers, null, 2)}\n`)
  const conversations = await reached.store.conversations()
  const rows = workerTable(workers, conversations, context.clock.wall(), context.screen.columns)
  context.print(`${rows.join('\n')}\n`)
}

async function revoke(context: CommandContext, texts: readonly string[], { json }: Json): Promise<void> {
  const { S2_STATE } = readSettings(commandEnv(context), ['S2_STATE'])
  await using reached = await reachAdministration(context)
  const names = await demandAll(reached, texts)
  for (const agent of names) {
    await reached.store.revokeWorker(agent)
    if (json !== true) context.print(`${agent} is revoked\n`)
  }
  await hintCredentials(S2_STATE)
  if (json === true) context.print(`${JSON.stringify({ revoked: names })}\n`)
}

/** All of these workers, or none: a person who mistyped one name has to know what became of the others. */
async function demandAll(reached: ReachedFleet, texts: readonly string[]): Promise<string[]> {
  try {
    const names = texts.map(workerNamed)
    for (const agent of names) await demand(reached, agent)
    return names
  } catch (error) {
    if (!(error instanceof S2Error) || texts.length === 1) throw error
    throw new S2Error(error.code, `${error.message}; none of the ${texts.length} was revoked`, {
      next: error.next ?? '`s2 worker list` shows the workers',
    })
  }
}

async function rename(
  context: CommandContext,
  text: string,
  name: string | undefined,
  options: RenameOptions,
): Promise<void> {
  if (name === undefined && options.role === undefined)
    throw new UsageError('neither a name nor a role is given', 'add the new name, or --role')
  const { S2_STATE } = readSettings(commandEnv(context), ['S2_STATE'])
  await using reached = await reachAdministration(context)
  const agent = workerNamed(text)
  await demand(reached, agent)
  const changes = {
    ...(name === undefined ? {} : { agent: workerNamed(name) }),
    ...(options.role === undefined ? {} : { role: options.role }),
  }
  const worker = await reached.store.renameWorker(agent, changes)
  await hintCredentials(S2_STATE)
  if (options.json === true) context.print(`${JSON.stringify(worker)}\n`)
  else context.print(`${agent} is ${worker.agent} (${worker.role}) now\n`)
}

async function find({ store }: ReachedFleet, agent: string): Promise<Worker | undefined> {
  return (await store.workers()).find((each) => each.agent === agent)
}

/** Throws `not_found` with the nearest name. */
async function demand(reached: ReachedFleet, agent: string): Promise<void> {
  const names = (await reached.store.workers()).map((each) => each.agent)
  if (names.includes(agent)) return
  const near = closest(agent, names)
  throw new S2Error('not_found', `there is no worker ${agent}`, {
    next: near === undefined ? '`s2 worker list` shows the workers' : `did you mean ${near}?`,
  })
}

function roleFor(agent: string, given: string | undefined, known: Worker | undefined): string {
  const wanted = given ?? known?.role
  if (wanted !== undefined) return wanted
  throw new UsageError(`no role is given for ${agent}`, 'add --role, for example --role tests')
}

/** What a host has to know of this fleet. */
async function membershipOf(
  context: CommandContext,
  { credentials }: ReachedFleet,
  agent: string,
): Promise<Membership> {
  const env = commandEnv(context)
  const settings = readSettings(env, ['S2_STATE', 'S2_BRIDGE_URL', 'S2_GIT_REMOTE', 'S2_GIT_BRANCH'])
  const { key, recipient } = await ensureIdentity(settings.S2_STATE)
  const local = join(settings.S2_STATE, 'remote.git')
  const bridgeUrl =
    env.S2_BRIDGE_URL === undefined ? (credentials[0]?.bridgeUrl ?? settings.S2_BRIDGE_URL) : settings.S2_BRIDGE_URL
  return {
    agent,
    orchestrator: { key, recipient },
    bridgeUrl: new URL(bridgeUrl).origin,
    remote: settings.S2_GIT_REMOTE ?? (existsSync(local) ? pathToFileURL(local).href : null),
    branch: settings.S2_GIT_BRANCH,
  }
}

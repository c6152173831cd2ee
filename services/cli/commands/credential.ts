import { type Command, Option } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv, stateFolder } from '#console/state-folder.ts'
import { type ReachedFleet, reachAdministration, reachFleet } from '#console/store-access.ts'
import { S2Error } from '#fleet/errors.ts'
import { parseSession, type SessionId, sessionId } from '#fleet/session-id.ts'
import { serialAfter, type Worker } from '#fleet/worker.ts'
import { hintWorkers } from '#issuing/hint-workers.ts'
import { formatDuration } from '#runtime/duration.ts'
import { closest, readSettings } from '#runtime/read-settings.ts'
import { hintCredentials } from '#spool/credential-hint.ts'
import { publishCredential } from '#spool/credentials.ts'
import { duration } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 credential rotate s2-worker-3
        new tokens for both ends of its conversation; the old ones count until the new ones are in force, at most 10 m
  s2 credential rotate s2-worker-3 --overlap 0s
        the old ones are void at once, for example because one leaked
  s2 credential rotate conv_0123456789abcdef/b --show-token
        one end of a conversation with an agent that is no worker of S2; the Python bridge knows one token, so that there the
        old one is void at once
  s2 credential hint
        all workers look for their credentials now`

/** How long a rotation may take until the credential is published. */
const PUBLISHED_WITHIN_MS = 30_000
const LOOK_MS = 200

interface Options {
  readonly overlap: number
  readonly showToken?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('rotate <agent>')
    .description('give a worker, or one session, new tokens')
    .addOption(
      new Option('--overlap <duration>', 'how long the old token stays valid')
        .argParser(duration)
        .default(600_000, '10m'),
    )
    .option('--show-token', 'print the token of an end that is no worker of S2; it is a secret')
    .option('--json', 'print JSON')
    .action(async (agent: string, options: Options) => await rotate(context, agent, options))
  command
    .command('hint [agents...]')
    .description('tell the named workers, or all, to look for their credentials now, at the bridge and in git')
    .option('--json', 'print JSON')
    .action(
      async (agents: readonly string[], options: { readonly json?: true }) => await hint(context, agents, options),
    )
}

async function rotate(context: CommandContext, agent: string, options: Options): Promise<void> {
  await using reached = await reachAdministration(context)
  const workers = await reached.store.workers()
  const named = agent.includes('/') ? parseSession(agent) : null
  const worker = workers.find((each) =>
    named === null ? [agent, `s2-worker-${agent}`].includes(each.agent) : each.conversation === named.conversation,
  )
  const isForeign = named !== null && (await isForeignEnd(reached, sessionId(named.conversation, named.side)))
  if (worker !== undefined && !isForeign) return await rotateWorker(context, reached, worker, options)
  if (named === null)
    throw noWorker(
      agent,
      workers.map((each) => each.agent),
    )
  await rotateSession(context, reached, sessionId(named.conversation, named.side), options)
}

/** Whether this names the end of another bridge's agent, to which nothing brings what the issuer makes. */
async function isForeignEnd({ store }: ReachedFleet, session: SessionId): Promise<boolean> {
  return (await store.conversations()).some(({ agents }) => agents.a === session || agents.b === session)
}

/** Both ends of a worker's conversation; the issuer on this host publishes the new credential. */
async function rotateWorker(
  context: CommandContext,
  { store }: ReachedFleet,
  worker: Worker,
  options: Options,
): Promise<void> {
  const { agent } = worker
  const { S2_STATE, S2_LIFETIME } = readSettings(commandEnv(context), ['S2_STATE', 'S2_LIFETIME'])
  // New tokens live as long as those before would have: the issuer knows the fleet's lifetime, and this command's may be another.
  const left = await lifetimeLeft(store, worker, context)
  const { serial } = await store.issueTokens(agent, options.overlap, left ?? S2_LIFETIME)
  await hintCredentials(S2_STATE)
  const isPublished = async (): Promise<boolean> =>
    (await store.workers()).some((each) => each.agent === agent && each.published >= serial)
  const until = context.clock.now() + PUBLISHED_WITHIN_MS
  while (!(await isPublished())) {
    if (context.clock.now() >= until) throw notPublished(agent, options)
    await context.clock.sleep(LOOK_MS)
  }
  if (options.json === true) context.print(`${JSON.stringify({ agent, serial, overlapMs: options.overlap })}\n`)
  else context.print(`${agent} has new tokens, and its credential is published\n`)
}

/** Milliseconds until the worker's conversation ends; null where it has ended. */
async function lifetimeLeft(
  store: ReachedFleet['store'],
  worker: Worker,
  { clock }: CommandContext,
): Promise<number | null> {
  const found = (await store.conversations()).find(({ id }) => id === worker.conversation)
  const left = (found?.expiresAt ?? 0) - clock.wall()
  return left > 0 ? left : null
}

function notPublished(agent: string, { overlap }: Options): S2Error {
  return new S2Error(
    'unavailable',
    `${agent} has new tokens, and its credential was not published within ${formatDuration(PUBLISHED_WITHIN_MS)}`,
    {
      next: `start s2-cred-sync on this host (S2_ISSUER=yes): it publishes it then; the old tokens count for ${formatDuration(overlap)}`,
    },
  )
}

/** One end of a conversation with a foreign agent. The orchestrator's own end is put in force on this host. */
async function rotateSession(
  context: CommandContext,
  reached: ReachedFleet,
  session: SessionId,
  options: Options,
): Promise<void> {
  const mine = reached.credentials.find((each) => each.session === session)
  if (mine === undefined && options.showToken !== true)
    throw new UsageError(`the new token of ${session} would be known to nobody`, 'add --show-token')
  const token = await reached.store.rotateToken(session, options.overlap)
  if (mine !== undefined) {
    const createdAt = serialAfter(mine.createdAt, context.clock.wall())
    await publishCredential(stateFolder(context), { ...mine, token, createdAt })
  }
  const shown = options.showToken === true ? { token } : {}
  if (options.json === true) context.print(`${JSON.stringify({ session, overlapMs: options.overlap, ...shown })}\n`)
  else context.print(`${session} has a new token${options.showToken === true ? `: ${token}` : ''}\n`)
  if (mine === undefined && options.overlap > 0)
    context.tell('The Python bridge knows one token for each end: there the old one is void now.\n')
}

function noWorker(agent: string, names: readonly string[]): S2Error {
  const near = closest(agent, names)
  return new S2Error('not_found', `no token was changed: there is no worker ${JSON.stringify(agent)}`, {
    next: near === undefined ? '`s2 worker list` shows the workers' : `did you mean ${near}?`,
  })
}

/** Tells workers to look now, at the bridge and in git: for a hook of the remote, and after a push by other means than s2. */
async function hint(
  context: CommandContext,
  agents: readonly string[],
  { json }: { readonly json?: true },
): Promise<void> {
  await using reached = await reachFleet(context)
  if (reached.unserved) {
    throw new S2Error('unavailable', 'no worker was notified: no bridge runs on this host', {
      next: 'start the bridge; until then each worker looks in git every S2_GIT_POLL',
    })
  }
  const conversations = await reached.store.conversations()
  const workers = new Set(conversations.map(({ agents: { b } }) => b))
  const stranger = agents.find((agent) => !workers.has(agent))
  if (stranger !== undefined) {
    const near = closest(stranger, [...workers])
    throw new S2Error('not_found', `no worker was notified: there is no worker ${JSON.stringify(stranger)}`, {
      next: near === undefined ? '`s2 conversation list` shows the workers' : `did you mean ${near}?`,
    })
  }
  const hinted = agents.length === 0 ? [...workers] : agents
  await hintWorkers(reached.store, conversations, hinted)
  if (json === true) context.print(`${JSON.stringify({ hinted })}\n`)
  else
    context.print(
      hinted.length === 0
        ? 'there are no workers\n'
        : `notified to look for their credentials now: ${hinted.join(', ')}\n`,
    )
}

import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { reachAdministration } from '#console/store-access.ts'
import { ORCHESTRATOR, sessionId } from '#fleet/session-id.ts'
import { bridgeAccessOf } from '#issuing/bridge-access.ts'
import { formatDuration } from '#runtime/duration.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { publishCredential } from '#spool/credentials.ts'
import { agentName, lifetime } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 observer create wallboard --out wallboard
        a credential that sees the whole fleet and changes nothing, in a folder of its own; carry the folder to its host
  S2_STATE=wallboard s2 status --watch
        what it is for
  s2 conversation end observer_0123456789abcdef
        ends it; \`s2 conversation list\` names it

The folder is a secret. An observer cannot be renewed: make another one before it ends.`

interface Options {
  readonly out: string
  readonly for: number
  readonly json?: true
}

const MONTH_MS = 30 * 86_400_000

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('create')
    .description('make the credential of an observer')
    .argument('<name>', 'what it is called', agentName)
    .requiredOption('--out <folder>', 'the folder that it is written into, a state folder of its own')
    .addOption(new Option('--for <duration>', 'how long it counts').argParser(lifetime).default(MONTH_MS, '30d'))
    .option('--json', 'print JSON')
    .action(async (name: string, options: Options) => await create(context, name, options))
}

async function create(context: CommandContext, name: string, options: Options): Promise<void> {
  const folder = resolve(context.folder, options.out)
  if (existsSync(folder)) throw new UsageError(`${options.out} is there already`, 'name another folder with --out')
  const env = commandEnv(context)
  const settings = readSettings(env, ['S2_BRIDGE_URL', 'S2_TLS_CA', 'S2_TLS_CERT'])
  await using reached = await reachAdministration(context)
  const known = env.S2_BRIDGE_URL === undefined ? reached.credentials[0]?.bridgeUrl : undefined
  const access = await bridgeAccessOf({ ...settings, S2_BRIDGE_URL: known ?? settings.S2_BRIDGE_URL })
  const { id, tokens, createdAt, expiresAt } = await reached.store.openConversation({
    roles: { a: ORCHESTRATOR, b: 'observer' },
    agents: { a: ORCHESTRATOR, b: name },
    lifetimeMs: options.for,
    isForObserver: true,
  })
  const session = sessionId(id, 'b')
  await publishCredential(folder, {
    session,
    token: tokens.b,
    agent: name,
    role: 'observer',
    ...access,
    createdAt,
    expiresAt,
  })
  if (options.json === true) context.print(`${JSON.stringify({ session, folder, expiresAt })}\n`)
  else
    context.print(
      `${name} may read the fleet for ${formatDuration(options.for)}: ${options.out} holds its credential, a secret\n`,
    )
}

import { homedir, userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { commandEnv } from '#console/state-folder.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { certificateFiles, type MadeCertificate, makeCertificate, readName } from '../make-certificate.ts'

const EXAMPLES = `
Examples:
  sudo s2 keys tls --name bridge.example.org --name 10.0.0.5
        makes an authority of your own and a certificate for the bridge, in /etc/s2/tls; workers get the authority, and the
        key of the bridge, with their credentials
  sudo s2 keys tls
        renews it for two years with the same authority, names and key; --name adds a name

To drop a name or to get another key, remove bridge.crt or bridge.key first. An authority is never overwritten. Keep its key,
ca.key, from others: a holder of it can impersonate the bridge. The keys of hosts are made by s2 worker join.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  defineTls(command.command('tls'), context, "make or renew the bridge's certificate, with an authority of your own")
}

/** The command that makes it, under each of its names. */
export function defineTls(command: Command, context: CommandContext, about: string): void {
  command
    .description(about)
    .option('--name <name>', 'name or address by which workers reach the bridge; may be repeated', collect, [])
    .option('--folder <path>', 'folder of the files; /etc/s2/tls for root, else tls in the folder of your settings')
    .option('--json', 'print JSON')
    .action(async (options: CreateOptions) => await create(context, options))
}

interface CreateOptions {
  readonly name: readonly string[]
  readonly folder?: string
  readonly json?: true
}

function collect(name: string, before: readonly string[]): readonly string[] {
  return [...before, readName(name)]
}

async function create(context: CommandContext, { name: names, folder: named, json }: CreateOptions): Promise<void> {
  const folder = named === undefined ? folderFor(context) : resolve(context.folder, named)
  const made = await makeCertificate({ folder, names }, { clock: context.clock, env: context.env })
  const next = nextSteps(made, context)
  if (json === true) {
    const { files, facts, isNewAuthority } = made
    const expiresAt = new Date(facts.notAfter).toISOString()
    context.print(`${JSON.stringify({ ...files, names: facts.names, expiresAt, isNewAuthority, next })}\n`)
    return
  }
  const { files, facts, isNewAuthority } = made
  if (isNewAuthority)
    context.print(`${files.ca}: the authority ${facts.issuer}; keep its key ${files.caKey} from others\n`)
  context.print(
    `${files.cert}: ${facts.names.join(', ')}, until ${new Date(facts.notAfter).toISOString().slice(0, 10)}\n`,
  )
  context.print(`\nnext:\n${next.map((line) => `  ${line}\n`).join('')}`)
}

/** The steps after the certificate is made. */
function nextSteps({ files, isNewAuthority }: MadeCertificate, context: CommandContext): string[] {
  const isSet = readSettings(commandEnv(context), ['S2_TLS_CERT']).S2_TLS_CERT === files.cert
  const effect = 'loads the certificate within a minute, and workers trust it as before'
  if (!isNewAuthority && isSet) return [`nothing: the bridge ${effect}`]
  if (!isNewAuthority)
    return [
      `nothing, where the bridge has S2_TLS_CERT=${files.cert}: it ${effect}`,
      'else write S2_TLS_CERT, S2_TLS_KEY and S2_TLS_CA into s2.env and restart s2-bridge',
    ]
  return [
    'into the settings of the orchestrator (s2.env):',
    `  S2_TLS_CERT=${files.cert}`,
    `  S2_TLS_KEY=${files.key}`,
    `  S2_TLS_CA=${files.ca}`,
    'restart s2-bridge',
    'workers that have a credential already: s2 credential rotate <worker>; new ones get the authority with theirs',
  ]
}

/** The folder of the present certificate, if S2 made it; else a folder beside the settings. */
export function folderFor(context: CommandContext): string {
  const set = readSettings(commandEnv(context), ['S2_TLS_CA', 'S2_TLS_CERT'])
  if (set.S2_TLS_CERT !== undefined && set.S2_TLS_CERT === certificateFiles(dirname(set.S2_TLS_CERT)).cert) {
    return dirname(set.S2_TLS_CERT)
  }
  if (userInfo().uid === 0) return '/etc/s2/tls'
  return join(context.env.XDG_CONFIG_HOME ?? join(context.env.HOME ?? homedir(), '.config'), 's2/tls')
}

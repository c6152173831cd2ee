import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { type HookedClient, type HookWishes, withHooks, withoutHooks } from './client-settings.ts'
import type { TrustPlaces } from './codex-trust.ts'
import { valueAt, withoutMember, withValue } from './edit-json.ts'
import { tableText, withoutTable, withTable } from './edit-toml.ts'
import type { FileEdit } from './file-edits.ts'
import { mcpCommand } from './hook-commands.ts'
import { PLUGIN_MARK, pluginText } from './opencode-plugin.ts'

/** Whose files are written: those of a person, for all of their projects, or those of one project on this machine. */
export interface Scope {
  readonly isProject: boolean
  /** The project's folder. */
  readonly folder: string
  readonly home: string
  readonly env: Readonly<Record<string, string | undefined>>
}

/** The files in which hooks of a client stand. */
export function hookFiles(wishes: HookWishes, scope: Scope): FileEdit[] {
  const { client } = wishes
  if (client === 'opencode') return [pluginFile(wishes, scope)]
  const name = {
    claude: scope.isProject ? 'settings.local.json' : 'settings.json',
    codex: 'hooks.json',
    gemini: 'settings.json',
  }
  return [hookFile(client, join(folderOf(wishes, scope), name[client]), wishes, scope)]
}

/** The files in which the door of agents, `s2 mcp`, stands as a server of the Model Context Protocol. */
export function mcpFiles(wishes: HookWishes, scope: Scope): FileEdit[] {
  const [command, ...args] = mcpCommand()
  const env = wishes.state === null ? {} : { env: { S2_STATE: wishes.state } }
  const folder = folderOf(wishes, scope)
  switch (wishes.client) {
    case 'claude':
      return [
        jsonServer(scope.isProject ? join(scope.folder, '.mcp.json') : claudeFile(scope), 'mcpServers', scope, {
          type: 'stdio',
          command,
          args,
          ...env,
          // Else the model sees no tool before it looks for one.
          alwaysLoad: true,
        }),
      ]
    case 'codex':
      return [tomlServer(join(folder, 'config.toml'), scope, command, args, wishes.state)]
    case 'gemini':
      return [jsonServer(join(folder, 'settings.json'), 'mcpServers', scope, { command, args, ...env })]
    default: {
      const environment = wishes.state === null ? {} : { environment: { S2_STATE: wishes.state } }
      const server = { type: 'local', command: [command, ...args], enabled: true, ...environment }
      return [jsonServer(join(scope.isProject ? scope.folder : folder, 'opencode.json'), 'mcp', scope, server)]
    }
  }
}

/** Where Codex keeps its hooks, and which of them a person trusts: that is in the person's own settings always. */
export function codexPlaces(wishes: HookWishes, scope: Scope): TrustPlaces {
  const own = folderOf(wishes, { ...scope, isProject: false })
  return { hooks: join(folderOf(wishes, scope), 'hooks.json'), config: join(own, 'config.toml') }
}

/** The folder of a client's settings, wherever its own variable puts it. */
export function folderOf({ client }: HookWishes, { isProject, folder, home, env }: Scope): string {
  if (isProject) return join(folder, `.${client}`)
  switch (client) {
    case 'claude':
      return env.CLAUDE_CONFIG_DIR ?? join(home, '.claude')
    case 'codex':
      return env.CODEX_HOME ?? join(home, '.codex')
    case 'gemini':
      return join(home, '.gemini')
    default:
      return join(env.XDG_CONFIG_HOME ?? join(home, '.config'), 'opencode')
  }
}

/** Where Claude Code keeps a person's servers: beside its settings, with much else of its own. */
function claudeFile({ home, env }: Scope): string {
  return join(env.CLAUDE_CONFIG_DIR ?? home, '.claude.json')
}

function hookFile(client: HookedClient, path: string, wishes: HookWishes, { isProject }: Scope): FileEdit {
  return {
    path,
    mayBeLink: !isProject,
    isSecret: wishes.door !== null,
    install: (text) => withHooks(text, client, wishes),
    uninstall: (text) => withoutHooks(text, client),
  }
}

function pluginFile(wishes: HookWishes, scope: Scope): FileEdit {
  const path = join(folderOf(wishes, scope), 'plugins', 's2.js')
  const demandOurs = (text: string): void => {
    if (text === '' || text.startsWith(PLUGIN_MARK)) return
    throw new S2Error('conflict', `${path} is not of S2: nothing was changed`, {
      next: 'move it away, then call the command again',
    })
  }
  return {
    path,
    mayBeLink: !scope.isProject,
    install: (text) => {
      demandOurs(text)
      return pluginText(wishes.state)
    },
    uninstall: (text) => {
      demandOurs(text)
      return ''
    },
  }
}

function jsonServer(
  path: string,
  key: string,
  { isProject }: Scope,
  server: Readonly<Record<string, unknown>>,
): FileEdit {
  const at = [key, 's2']
  return {
    path,
    mayBeLink: !isProject,
    install: (text) =>
      JSON.stringify(valueAt(text, at)) === JSON.stringify(server) ? text : withValue(text, at, server),
    uninstall: (text) => withoutMember(text, at),
  }
}

const TABLE = 'mcp_servers.s2'

function tomlServer(
  path: string,
  { isProject }: Scope,
  command: string,
  args: readonly string[],
  state: string | null,
): FileEdit {
  const lines = [
    `command = ${JSON.stringify(command)}`,
    `args = ${JSON.stringify(args)}`,
    ...(state === null ? [] : [`env = { S2_STATE = ${JSON.stringify(state)} }`]),
  ]
  return {
    path,
    mayBeLink: !isProject,
    install: (text) => {
      demandTables(path, text)
      return withTable(text, TABLE, lines)
    },
    uninstall: (text) => (tableText(text, TABLE) === null ? text : withoutTable(text, TABLE)),
  }
}

/** A server that is written in another form would stand there twice, and Codex refuses such a file. */
function demandTables(path: string, text: string): void {
  const isOtherForm = /^[ \t]*mcp_servers[ \t]*(?:=|\.[ \t]*s2\b)/m.test(text)
  if (!isOtherForm) return
  throw new S2Error('conflict', `${path} names servers in another form than [${TABLE}]: nothing was changed`, {
    next: `write each server as a table there, then call the command again`,
  })
}

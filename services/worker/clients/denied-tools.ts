import { field, textOf } from './said.ts'
import { toolLine } from './tool-line.ts'

/** A tool that a client asked to use, and what would allow it. */
export interface AskedTool {
  /** It and what it is given, in one line. */
  readonly line: string
  readonly allow: { readonly mode: string } | { readonly rule: string }
}

/** Tools of Claude Code that change files of the folder, which a mode allows together. */
const EDITS: readonly string[] = ['Edit', 'MultiEdit', 'NotebookEdit', 'Write']

/** A command without signs of the shell or of the rule itself: such a rule allows this very command, and no other. */
const ONE_COMMAND = /^[^\p{Cc};&|<>()`$*]{1,150}$/u

/** A tool as Claude Code names it, with its input. */
export function askedTool(name: string, input: unknown): AskedTool {
  const line = toolLine(name, input)
  if (EDITS.includes(name)) return { line, allow: { mode: 'acceptEdits' } }
  if (name !== 'Bash') return { line, allow: { rule: name } }
  const command = textOf(field(input, 'command')) ?? ''
  return { line, allow: { rule: `Bash(${ONE_COMMAND.test(command) ? command : 'COMMAND'})` } }
}

/** Why the task failed, what the client said last, and at the end, where nothing cuts it off, what to put where. */
export function deniedInWords(denied: readonly AskedTool[], said: string): string {
  const rules = [...new Set(denied.flatMap(({ allow }) => ('rule' in allow ? [allow.rule] : [])))]
  const modes = [...new Set(denied.flatMap(({ allow }) => ('mode' in allow ? [allow.mode] : [])))]
  const keys = [
    ...modes.map((mode) => `"permissionMode": ${JSON.stringify(mode)}`),
    ...(rules.length === 0 ? [] : [`"allowedTools": [${rules.map((rule) => JSON.stringify(rule)).join(', ')}]`]),
  ]
  const options = [
    ...(modes.length === 0 ? [] : ['--permission-mode']),
    ...(rules.length === 0 ? [] : ['--allowed-tool']),
  ]
  const lines = denied.map(({ line }) => line)
  return `${deniedLines(lines, said)}; ${keys.join(' and ')} of this worker in the fleet file would allow it, or ${options.join(' and ')} of s2 work`
}

/** The same of Codex, which has a mode alone. */
export function deniedByMode(lines: readonly string[], said: string, mode: string | null): string {
  const now = mode === null ? 'as Codex is set' : mode
  return `${deniedLines(lines, said)}; "permissionMode" of this worker in the fleet file, or --permission-mode of s2 work, says what it may do: read-only, workspace-write or danger-full-access (now ${now})`
}

function deniedLines(lines: readonly string[], said: string): string {
  return `permission denied for ${lines.join(', ')}${said === '' ? '' : `; it said: ${said}`}`
}

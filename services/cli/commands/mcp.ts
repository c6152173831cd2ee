import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { serveMcp } from '../serve-mcp.ts'

const EXAMPLES = `
Examples:
  claude mcp add -s user s2 -- s2 mcp       Claude Code has the tools in every folder
  codex mcp add s2 -- s2 mcp                and so has Codex

It speaks the Model Context Protocol over its standard input and output, and ends with its input. docs/agents.md has the tools.`

export function define(command: Command, context: CommandContext): void {
  command
    .option('--session <session>', 'the session that calls mean which name none, where this host has several')
    .addHelpText('after', EXAMPLES)
    .action(async (options: { session?: string }) => await serveMcp(context, options.session ?? null))
}

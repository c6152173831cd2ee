import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { controlAgent } from '../control-agent.ts'

const EXAMPLES = `
Examples:
  s2 kill s2-worker-3         kills all its processes at once (KILL); they stay down until \`s2 thaw\`

Only for agents that an \`s2 up\` on this machine started.`

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<agent>', 'its name, or its role where no other agent has it')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (agent: string, options: { json?: true }) => {
      const became = (count: number): string => `was killed (${count} processes); it stays down until s2 thaw`
      await controlAgent('kill', agent, became, options.json === true, context)
    })
}

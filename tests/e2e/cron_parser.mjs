// cron_parser.mjs: asks npm's cron-parser when schedules fire. Reads a JSON array of {schedule, zone, from, count} from stdin and writes one
// of {next: [RFC 3339 in UTC]} or {error}. argv[2]: the folder whose node_modules has the package.
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';

const {CronExpressionParser} = createRequire(process.argv[2] + '/')('cron-parser');
const answers = JSON.parse(readFileSync(0, 'utf8')).map(({schedule, zone, from, count}) => {
  try {
    const it = CronExpressionParser.parse(schedule, {currentDate: from, tz: zone});
    return {next: Array.from({length: count}, () => it.next().toDate().toISOString().replace('.000Z', 'Z'))};
  } catch (e) {
    return {error: String(e.message)};
  }
});
process.stdout.write(JSON.stringify(answers));

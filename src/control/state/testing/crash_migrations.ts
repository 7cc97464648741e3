/** Enough steps that a kill falls into one of them. */
import type { Migration } from "../migrations.ts";
import { migrations } from "../schema.ts";

export const crashSteps = 60;
export const crashRows = 300;

export const crashMigrations: readonly Migration[] = [
  ...migrations,
  ...Array.from({ length: crashSteps }, (_, step) => ({
    name: `step ${step}`,
    sql: `CREATE TABLE step_${step} (x INTEGER, y TEXT) STRICT;
      WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ${crashRows})
      INSERT INTO step_${step} SELECT x, hex(randomblob(100)) FROM n;
      ${step === 0 ? "" : `DROP TABLE step_${step - 1};`}`,
  })),
];
